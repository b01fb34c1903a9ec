"""The cascade beside other methods: at no more passes, and what it still fails on."""

import json

import numpy as np
import pandas as pd
import pytest

from entropy_grounding.evaluation.budgets import replayed_rows
from entropy_grounding.method.budget import Limits
from entropy_grounding.reporting.budget_curve import (
    EVERY_VLM,
    beside_curve,
    budget_name,
    budget_of,
    budgets_table,
    curves,
    is_budget,
    single_methods,
)
from entropy_grounding.reporting.claims import CLAIMS, verdict
from entropy_grounding.reporting.failures import (
    ELSEWHERE,
    NOT_CHOSEN,
    NOT_READ,
    ONLY_CUT,
    reachable_failures,
    surer_of,
)

# Method, score and passes; the interval of each is 4 points wide.
POINTS = (
    ("plain", 0.40, 1.0),
    ("anytime_2", 0.50, 1.9),
    ("anytime_5", 0.60, 5.1),
    ("anytime_17", 0.70, 15.0),
    ("anytime_all", 0.71, 20.0),
    ("map_attention", 0.55, 5.0),
    ("vicrop_rel_att", 0.61, 6.0),
    ("search_16", 0.69, 17.0),
    ("control_oracle", 0.90, 2.0),
)


def cells(points=POINTS, vlms=("tiny_llava",)):
    lines = []
    for vlm in vlms:
        for benchmark in ("mini_vstar", "mini_gqa"):
            for method, score, passes in points:
                line = {"vlm": vlm, "benchmark": benchmark, "method": method, "n": 9}
                line |= {"score_low": score - 0.02, "score_high": score + 0.02}
                lines.append({**line, "score": score, "passes": passes})
    return pd.DataFrame(lines)


def test_a_budget_has_a_name_that_is_read_back():
    assert budget_of(budget_name(2.5)) == 2.5
    assert [is_budget(name) for name in ("anytime_2.5", "anytime", "anytime_all")] == [
        *(True, False, False)
    ]


def test_a_method_is_compared_with_the_dearest_budget_of_no_more_passes():
    found = beside_curve(cells()).set_index(["vlm", "method"])["budget"]
    assert found.to_dict() == {
        (vlm, method): budget
        for vlm in ("tiny_llava", EVERY_VLM)
        for method, budget in (("map_attention", 2), ("vicrop_rel_att", 5), ("search_16", 17))
    }


def test_half_the_width_of_a_mean_is_that_of_independent_benchmarks():
    """Two benchmarks with 2 points each: sqrt(2² + 2²) / 2."""
    found = beside_curve(cells())
    assert np.allclose(found.loc[found["vlm"] == "tiny_llava", "half"], np.sqrt(8) / 2 / 100)


def test_the_curve_is_the_budgets_and_the_points_are_the_others():
    assert list(curves(cells())["passes"]) == [1.9, 5.1, 15.0]
    assert "anytime" not in "".join(single_methods(cells())["method"])


def test_the_table_has_a_row_for_each_budget_and_the_change_where_nothing_is_hidden():
    text = budgets_table(cells())
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == ["2", "5", "17"]
    assert "+10.0" in text.splitlines()[2]


def test_a_lead_below_what_is_claimed_refutes_the_claim_about_search():
    """The budget of 17 passes is 1 point ahead of trying 16 crops, and 1.5 are claimed."""
    claim = next(each for each in CLAIMS["35_anytime"] if "16 crops" in each.text)
    assert not any(claim.check(cells()).values())
    assert claim.evidence(cells(), {}) == "+1.0 points on `tiny_llava`"


def test_the_verdict_names_the_method_above_the_curve():
    """map_attention is 5 points above the budget of 2 passes."""
    assert "not `map_attention` on tiny_llava" in verdict("35_anytime", cells())


def row(score, attempts, crops, **more):
    base = {"example_id": "a", "status": "ok", "score": score, "evidence": [[0, 0, 10, 10]]}
    trace = json.dumps([[2, 0.5, 1 + place, 0, share] for place, share in enumerate(attempts)])
    return pd.DataFrame([{**base, "crops": crops, "attempts": trace, **more}])


RIGHT, BESIDE, HALF = [[0, 0, 10, 10]], [[20, 20, 30, 30]], [[5, 0, 15, 10]]


@pytest.mark.parametrize(
    ("crops", "attempts", "kind"),
    [
        (RIGHT, [1, 0], NOT_READ),
        (BESIDE, [1, 0], NOT_CHOSEN),
        (BESIDE, [0.5, 0], ONLY_CUT),
        (HALF, [0.5, 0], ONLY_CUT),
        (BESIDE, [0, 0], ELSEWHERE),
    ],
)
def test_what_the_oracle_answers_fails_by_what_the_attempts_showed(crops, attempts, kind):
    oracle = pd.DataFrame([{"example_id": "a", "score": 1.0}])
    assert list(reachable_failures(row(0.0, attempts, crops), oracle)["kind"]) == [kind]


def test_what_the_oracle_does_not_answer_is_no_failure():
    oracle = pd.DataFrame([{"example_id": "a", "score": 0.0}])
    assert reachable_failures(row(0.0, [0], BESIDE), oracle).empty


@pytest.mark.parametrize(("entropy", "score"), [(0.1, 1.0), (0.9, 0.0)])
def test_one_more_attempt_answers_where_it_is_surer_and_always_costs_its_pass(entropy, score):
    cost = {"forwards": 3, "backwards": 1}
    mine = row(0.0, [0], BESIDE, answer_entropy=0.5, **cost)
    found = surer_of(mine, row(1.0, [1], RIGHT, answer_entropy=entropy, **cost))
    assert list(found["score"]) == [score]
    assert (found["forwards"][0], found["backwards"][0]) == (4, 1)


def test_replayed_rows_keep_what_has_no_score_and_know_no_places():
    """The plain answer is right and sure enough; the row without a trace stays as it is."""
    trace = json.dumps([[0, 0.1, 1, 1, 0], [1, 0.05, 4, 0, 0]])
    rows = pd.DataFrame(
        {"status": ["ok", "failed"], "attempts": [trace, None], "score": [0.0, np.nan], "iou": 0.5}
    )
    found = replayed_rows(rows, Limits(0, 0, 0.2, -1, -1, 0, 15))
    assert found["score"][0] == 1.0 and found["forwards"][0] == 1
    assert found[["score", "forwards"]].iloc[1].isna().all() and found["iou"].isna().all()
