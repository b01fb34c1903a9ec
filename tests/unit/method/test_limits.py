"""Thresholds of a budget, from a stored calibration."""

import pytest
from omegaconf import OmegaConf

from entropy_grounding.core.errors import InputError
from entropy_grounding.method import gate
from entropy_grounding.method.budget import BudgetOptions
from entropy_grounding.method.gate import GateOptions
from entropy_grounding.method.limits import within_budget
from entropy_grounding.method.options import GroundingOptions


def options(passes):
    return GroundingOptions(
        crops="anytime", gate=GateOptions(score="entropy"), budget=BudgetOptions(passes=passes)
    )


@pytest.fixture
def stored(tmp_path, monkeypatch):
    path = tmp_path / "vlm.yaml"
    monkeypatch.setattr(gate, "calibration_path", lambda vlm: path)

    def store(*passes):
        others = {"score": 0.5, "zoomed": 0.2, "tried": 0.3, "tries": 4, "rounds": 2}
        budgets = [{"passes": each, "plain": each / 10, **others} for each in passes]
        OmegaConf.save({"weights": [0, 0, 0], "budgets": budgets}, path)

    return store


def test_a_budget_takes_the_dearest_thresholds_that_it_affords(stored):
    stored(1.0, 4.5, 9.0)
    found = within_budget(options(8), "vlm")
    assert (found.gate.threshold, found.gate.settle) == (0.45, 0.2)
    assert (found.budget.tried, found.budget.tries) == (0.3, 4)
    assert found.stopping.max_rounds == 2


def test_a_budget_below_the_cheapest_is_refused(stored):
    stored(2.5)
    with pytest.raises(InputError, match=r"passes is 2, .* 'vlm' has no budget below 2\.5"):
        within_budget(options(2), "vlm")


def test_a_calibration_without_budgets_is_refused(stored):
    stored()
    with pytest.raises(InputError, match=r"'vlm' has no budgets: .* eg calibrate vlm=vlm"):
        within_budget(options(2), "vlm")


def test_a_vlm_without_a_calibration_is_refused():
    with pytest.raises(InputError, match=r"method\.budget needs a calibration of 'nobody'"):
        within_budget(options(2), "nobody")


def test_without_a_budget_nothing_changes():
    assert within_budget(options(None), "nobody") == options(None)


def test_less_than_a_plain_answer_is_refused():
    with pytest.raises(InputError, match=r"budget\.passes is 0\.5: a plain answer takes 1"):
        BudgetOptions(passes=0.5)
