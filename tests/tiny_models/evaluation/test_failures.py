"""Evaluations in which everything fails: they stop early, say why, and do not end well."""

import pytest

from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import EvaluateConfig, results_folder
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.evaluation.store import stored_rows
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.vlm.model import VLM


@pytest.fixture
def broken(monkeypatch):
    """Every pass of every model fails for one reason."""

    def fail(*_, **__):
        raise ZeroDivisionError("no")

    monkeypatch.setattr(VLM, "run", fail)


def config(folder, *overrides):
    given = ["benchmark=mini_gqa", "tracking=disabled", f"results_dir={folder}", *overrides]
    return compose_config([*given, "method_name=m"], "evaluate", EvaluateConfig)


def test_a_run_stops_after_as_many_equal_failures_as_asked(tmp_path, tiny_vlm, broken):
    options = config(tmp_path, "benchmark.examples=8", "stop_after=3")
    with pytest.raises(InputError, match=r"3 examples in a row .*\(ZeroDivisionError: no\)"):
        evaluate(options, tiny_vlm)
    assert len(stored_rows(results_folder(options))) == 3


def test_a_run_need_not_stop(tmp_path, tiny_vlm, broken):
    options = config(tmp_path, "benchmark.examples=12", "stop_after=null")
    assert set(evaluate(options, tiny_vlm)["status"]) == {"failed"}


def test_it_goes_on_when_the_reason_is_mended(tmp_path, tiny_vlm, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(VLM, "run", lambda *_, **__: 1 / 0)
        with pytest.raises(InputError, match="retry_failed=true"):
            evaluate(config(tmp_path, "benchmark.examples=4", "stop_after=2"), tiny_vlm)
    rows = evaluate(config(tmp_path, "benchmark.examples=4", "retry_failed=true"), tiny_vlm)
    assert list(rows["status"]) == ["ok"] * 4


def test_a_cell_of_an_experiment_without_a_score_is_an_error(tmp_path, broken):
    given = {"benchmark": "mini_gqa", "method": "entropy_gradient", "tracking": "disabled"}
    setup = load_experiment("table1", "smoke", results_dir=str(tmp_path), **given)
    with pytest.raises(InputError, match=r"None of the 4 examples .* ZeroDivisionError: no"):
        complete(setup)
