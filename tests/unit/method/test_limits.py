"""Thresholds of a budget, from a stored calibration."""

import pytest
from omegaconf import OmegaConf

from entropy_grounding.core.errors import InputError
from entropy_grounding.method import gate
from entropy_grounding.method.budget import BudgetOptions
from entropy_grounding.method.gate import GateOptions
from entropy_grounding.method.limits import within_budget
from entropy_grounding.method.options import GroundingOptions


def options(passes, **budget):
    budget = BudgetOptions(passes=passes, **budget)
    return GroundingOptions(crops="anytime", gate=GateOptions(score="entropy"), budget=budget)


def of(passes):
    """Budgets that gain a point for each pass up to the fifth, then a tenth of one."""
    others = {"zoomed": 0.2, "tried": 0.3, "tries": 4, "rounds": 2}
    return [
        {"passes": each, "plain": each / 10, "score": min(each, 5) / 100 + each / 1000, **others}
        for each in passes
    ]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    path = tmp_path / "vlm.yaml"
    monkeypatch.setattr(gate, "calibration_path", lambda vlm: path)

    def store(*passes, **by_benchmark):
        found = {key: of(each) for key, each in {"all": passes, **by_benchmark}.items()}
        OmegaConf.save({"weights": [0, 0, 0], "budgets": found}, path)

    return store


def test_a_budget_takes_the_dearest_thresholds_that_it_affords(stored):
    stored(1.0, 4.5, 9.0)
    found = within_budget(options(8), "vlm")
    assert (found.gate.threshold, found.gate.settle) == (0.45, 0.2)
    assert (found.budget.tried, found.budget.tries) == (0.3, 4)
    assert found.stopping.max_rounds == 2


@pytest.mark.parametrize(
    ("price", "most", "threshold"),
    [(0, None, 0.9), (0.5, None, 0.45), (2, None, 0.1), (0, 5, 0.45)],
)
def test_a_price_takes_the_thresholds_whose_passes_are_worth_it(stored, price, most, threshold):
    """A pass gains 1.1 points up to 4.5 passes, and 0.2 behind it."""
    stored(1.0, 4.5, 9.0)
    assert within_budget(options(most, price=price), "vlm").gate.threshold == threshold


def test_thresholds_of_the_benchmark_are_taken_where_they_are_asked_for(stored):
    stored(2.0, vstar=[3.0])
    of_it = options(8, thresholds="benchmark")
    assert within_budget(of_it, "vlm", "vstar").gate.threshold == 0.3
    assert within_budget(options(8), "vlm", "vstar").gate.threshold == 0.2
    assert within_budget(of_it, "vlm").gate.threshold == 0.2


def test_a_benchmark_without_thresholds_is_refused(stored):
    stored(2.0)
    with pytest.raises(InputError, match=r"'vlm' has no budgets for 'gqa'"):
        within_budget(options(8, thresholds="benchmark"), "vlm", "gqa")


def test_a_budget_below_the_cheapest_is_refused(stored):
    stored(2.5)
    with pytest.raises(InputError, match=r"passes is 2, .* of 'vlm' takes 2\.5"):
        within_budget(options(2), "vlm")


def test_a_calibration_without_budgets_is_refused(stored):
    stored()
    with pytest.raises(InputError, match=r"'vlm' has no budgets for 'all': run eg"):
        within_budget(options(2), "vlm")


def test_a_vlm_without_a_calibration_is_refused():
    with pytest.raises(InputError, match=r"method\.budget needs a calibration of 'nobody'"):
        within_budget(options(2), "nobody")


def test_without_a_budget_nothing_changes():
    assert within_budget(options(None), "nobody") == options(None)


def test_less_than_a_plain_answer_is_refused():
    with pytest.raises(InputError, match=r"budget\.passes is 0\.5: a plain answer takes 1"):
        BudgetOptions(passes=0.5)
