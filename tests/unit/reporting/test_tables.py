"""Tables of every method from stored rows, on rows whose outcome is known."""

import numpy as np
import pandas as pd
import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.reporting.comparisons import dominating, location_shares, mean_costs
from entropy_grounding.reporting.documents import report
from entropy_grounding.reporting.failures import failures, failures_by_kind
from entropy_grounding.reporting.long_tables import by_vlm
from entropy_grounding.reporting.summary import cells
from entropy_grounding.reporting.tables import (
    cost_table,
    location_table,
    mean_table,
    place_table,
    reference_table,
    score_table,
    sources,
    wins_table,
)

N = 48
PLAIN = np.arange(N) % 4 == 0
SCORES = {
    "entropy_gradient": np.arange(N) % 4 != 3,  # 36 right
    "control_random": PLAIN,
    "control_oracle_budget": np.ones(N, bool),
    "search_8": np.ones(N, bool),
    "control_upscaled": None,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for method, scores in SCORES.items():
        rows = pd.DataFrame(
            {"example_id": [str(n) for n in range(N)], "plain_score": PLAIN.astype(float)}
        )
        rows = rows.assign(
            status="failed" if scores is None else "ok",
            score=None if scores is None else scores.astype(float),
        )
        rows = rows.assign(
            iou=0.25,
            best_iou=0.5,
            pointing=1.0,
            energy=0.5,
            chance=0.1,
            forwards=4,
            backwards=2,
            visual_tokens=128,
            lm_tokens=256,
            seconds=0.5,
        )
        config = {"vlm": {"name": "tiny_llava"}, "benchmark": {"name": "mini_vstar"}}
        source = {"config": config, "weights_sha256": "abcdef0123456789", "commit": "1234567"}
        write_results(folder / "tiny_llava" / "mini_vstar" / method, rows, source)
    return folder


def lines_by_method(table):
    return {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}


def test_scores_carry_intervals_marks_and_flips(root):
    found = lines_by_method(score_table(cells(root), "tiny_llava"))
    assert list(found)[:2] == ["`plain`", "`entropy_gradient`"]
    assert "25.0 [" in found["`plain`"]
    assert "75.0 [" in found["`entropy_gradient`"]
    assert "]+" in found["`entropy_gradient`"]
    assert found["`entropy_gradient`"].rstrip("| ").endswith("24, 0")
    assert "]+" not in found["`control_random`"]
    assert "n/a" in found["`control_upscaled`"]


def test_places_and_cost_are_means(root):
    found = lines_by_method(place_table(cells(root), "tiny_llava"))["`entropy_gradient`"]
    assert [part.strip() for part in found.split("|")[2:-1]] == [
        "0.250",
        "0.500",
        "100.0 %",
        "50.0 %",
        "10.0 %",
        "8.0",
        "128",
        "0.500",
    ]


def test_a_baseline_that_wins_is_listed_and_oracles_do_not_compete(root):
    table = wins_table(cells(root))
    assert table.startswith("1 of 2 cells are significantly better")
    assert "search_8" in table
    assert "oracle" not in table


def test_a_win_that_many_tests_explain_is_listed_with_both_p_values():
    lines = [
        ("entropy_gradient", 0.6, None),
        ("search_8", 0.7, 0.03),
        ("nested", 0.65, 0.2),
        ("map_attention", 0.5, 0.001),
    ]
    found = pd.DataFrame(lines, columns=["method", "score", "p_ours"]).assign(
        vlm="tiny_llava", benchmark="mini_vstar"
    )
    table = wins_table(found)
    assert table.startswith(
        "0 of 3 cells are significantly better than `entropy_gradient` "
        "(adjusted p < 0.05); with an unadjusted p < 0.05: 1 "
    )
    assert [part.strip() for part in table.splitlines()[-1].split("|")[1:-1]] == [
        "tiny_llava",
        "mini-V*",
        "search_8",
        "10.0",
        "0.03",
        "0.8",
    ]
    assert (
        reference_table(found).splitlines()[0]
        == "1 of 3 cells are significantly different from `entropy_gradient` (change in points):"
    )


def test_a_method_that_scores_as_much_for_less_is_said_to_dominate():
    lines = [
        ("plain", 0.5, 1.0),
        ("entropy_gradient", 0.6, 8.0),
        ("gated", 0.62, 5.0),
        ("search_8", 0.7, 9.0),
        ("control_oracle", 0.9, 2.0),
    ]
    found = pd.DataFrame(lines, columns=["method", "score", "passes"]).assign(
        vlm="tiny_llava", benchmark="vstar", n=40
    )
    said = dominating(found)
    expected = "gated (+2.0 points, 5.0 passes); entropy_gradient takes 8.0 passes."
    assert said == f"- tiny_llava: {expected}"
    assert dominating(found[found["method"] != "gated"]).startswith("- tiny_llava: none;")


def test_means_are_of_methods_with_all_benchmarks():
    lines = [
        ("tiny_llava", "vstar", "entropy_gradient", 0.5, 6.0),
        ("tiny_llava", "gqa", "entropy_gradient", 0.7, 4.0),
        ("tiny_llava", "vstar", "search_8", 0.9, 9.0),
        ("tiny_qwen2_5_vl", "vstar", "entropy_gradient", 0.8, 6.0),
        ("tiny_qwen2_5_vl", "vstar", "search_8", 0.9, 9.0),
    ]
    found = pd.DataFrame(lines, columns=["vlm", "benchmark", "method", "score", "passes"]).assign(
        n=40
    )
    table = {
        method: [part.strip() for part in line.split("|")[2:-1]]
        for method, line in lines_by_method(mean_table(found)).items()
    }
    assert table == {
        "`entropy_gradient`": ["60.0 (5.0)", "80.0 (6.0)"],
        "`search_8`": ["", "90.0 (9.0)"],
    }


def test_a_mean_over_some_of_the_benchmarks_is_none():
    lines = [
        ("vstar", "search_8", 100.0),
        ("gqa", "search_8", np.nan),
        ("vstar", "nested", 100.0),
        ("gqa", "nested", 200.0),
    ]
    found = pd.DataFrame(lines, columns=["benchmark", "method", "visual_tokens"]).assign(
        vlm="tiny_llava", score=0.5, n=40
    )
    tokens = mean_costs(found, "visual_tokens").set_index("method")["visual_tokens"]
    assert np.isnan(tokens["search_8"])
    assert tokens["nested"] == 150


def test_location_explains_two_thirds_here(root):
    """(75 - 25) / (100 - 25)."""
    shares = location_shares(root)
    assert shares["share"].tolist() == [pytest.approx(2 / 3)]
    assert "67 % [" in location_table(shares)


def test_tables_name_their_source(root):
    assert (
        sources(cells(root))
        == "Weights (SHA-256): `tiny_llava` abcdef012345 (commit 1234567, n = 48)."
    )


def test_nothing_stored_is_an_error(tmp_path):
    with pytest.raises(InputError, match="No stored evaluation"):
        cells(tmp_path)


@pytest.mark.parametrize(
    ("crops", "plain", "kind"),
    [
        ([[0, 0, 10, 10]], 0.0, "some evidence is in no crop"),
        ([[25, 20, 60, 60]], 0.0, "evidence is cut off"),
        ([[10, 10, 60, 60]], 0.0, "seen and misread"),
        ([[10, 10, 60, 60]], 1.0, "a right answer got lost"),
    ],
)
def test_failures_are_told_apart(crops, plain, kind):
    row = {
        "example_id": "1",
        "status": "ok",
        "score": 0.0,
        "plain_score": plain,
        "crops": np.array(crops, float).tolist(),
        "evidence": [[20.0, 20.0, 40.0, 40.0]],
    }
    row |= {"question": "?", "references": ["a"], "plain_answer": "b", "answer": "c"}
    method, oracle = pd.DataFrame([row]), pd.DataFrame([{**row, "score": 1.0}])
    key = ("tiny_llava", "mini_vstar")
    found = failures({key: (method, {})}, {key: (oracle, {})})
    assert found[["vlm", "benchmark", "kind"]].values.tolist() == [[*key, kind]]
    assert failures_by_kind(found).loc[("tiny_llava", "mini-V*")].to_dict() == {kind: 1}


def test_the_report_says_what_was_not_run(root):
    text = report(cells(root), location_shares(root))
    assert "**Not run:** `entropy_gradient_released`, `map_attention`" in text
    assert "## `tiny_llava`" in by_vlm(cells(root), score_table)


def test_a_method_that_one_vlm_lacks_is_named_with_it(root):
    elsewhere = cells(root).query("method == 'entropy_gradient'").assign(vlm="tiny_qwen2_5_vl")
    text = report(pd.concat([cells(root), elsewhere]), location_shares(root))
    assert "`search_8` (`tiny_qwen2_5_vl`)" in text


@pytest.mark.parametrize(("limit", "kept"), [(2.2, "yes"), (2.0, "**no**"), (None, "")])
def test_the_table_says_which_limits_are_kept(limit, kept):
    found = pd.DataFrame(
        [
            {
                "figure": "map",
                "value": 2.1,
                "limit": limit,
                "repeats": 7,
                "examples": 300,
                "commit": "abc",
            }
        ]
    )
    line = cost_table(found).splitlines()[2]
    assert line.split("|")[4].strip() == kept
