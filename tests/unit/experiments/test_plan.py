"""The plan of an experiment: what is missing, and how long it takes."""

import pandas as pd
import pytest

from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.experiments.plan import plan_text, planned


def test_everything_is_missing_at_first(tmp_path):
    plan = planned(load_experiment("table1", "smoke", results_dir=str(tmp_path)))
    assert set(plan["missing"]) == {4}
    assert not plan["complete"].any()
    assert (plan["seconds"] > 0).all()


@pytest.fixture
def plan():
    rows = [
        ("a", "x", True, 0, 0.0),
        ("a", "x", False, 10, 108.0),
        ("a", "y", True, 0, 0.0),
        ("b", "x", False, None, float("nan")),
    ]
    return pd.DataFrame(
        rows, columns=["vlm", "benchmark", "complete", "missing", "seconds"]
    ).assign(note="", published=False, source="published rows", fetch=0.0, memory=1.5)


def test_a_plan_has_a_line_for_each_cell(plan):
    lines = [
        [entry.strip() for entry in line.split("|")[1:-1]]
        for line in plan_text(plan, "outputs/results").splitlines()[2:-2]
    ]
    assert lines == [
        ["a", "x", "2", "1", "10", "2.0 min", "0.0", "1.5"],
        ["a", "y", "1", "1", "0", "0.0 min", "0.0", "1.5"],
        ["b", "x", "1", "0", "all", "unknown", "0.0", "1.5"],
    ]


def test_a_plan_names_the_benchmarks_without_evidence(plan):
    said = plan_text(plan.assign(note=["no boxes: no localisation", "", "", ""]), "outputs/results")
    assert "\nx: no boxes: no localisation\n" in said


def test_a_plan_has_no_total_where_a_part_is_unknown(plan):
    assert plan_text(plan, "outputs/results").endswith("one process: unknown")
    assert plan_text(plan[plan["vlm"] == "a"], "outputs/results").endswith("one process: 2.0 min")
