"""Sentences that name results, each held against the stored rows."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from entropy_grounding.evaluation.archive import read_summary
from entropy_grounding.reporting.budget_curve import beside_curve
from entropy_grounding.reporting.claims import (
    CLAIMS,
    Comparison,
    above,
    exceptions,
    gains,
    means,
    short_verdict,
    verdict,
)
from entropy_grounding.reporting.comparisons import half_widths, mean_costs
from entropy_grounding.reporting.experiment import summary_records

ROOT = Path(__file__).resolve().parents[3]
README = " ".join((ROOT / "README.md").read_text().split())


def cells(experiment):
    """The summary of an experiment as `report` stores it."""
    return summary_records(ROOT / "results", experiment).rename(columns={"value": "score"})


def league():
    return read_summary(ROOT / "results" / "measured" / "cells.json")


def mean(method, vlm, column="score"):
    return mean_costs(league(), "passes").set_index(["method", "vlm"])[column].get((method, vlm))


VLMS = ("tiny_llava", "tiny_llava_next", "tiny_internvl", "tiny_qwen2_5_vl")


def a_budget_is_ahead():
    """Of the paper's zoom and of trying 16 crops, on every VLM."""
    names = {"low": "score_low", "high": "score_high"}
    found = beside_curve(cells("anytime").rename(columns=names))
    both = found[found["method"].isin(("entropy_gradient", "search_16"))]
    ahead = both["cascade_score"] > both["score"]
    return ahead.all() and set(VLMS) <= set(both["vlm"])


# What README says beside its generated tables, and the check of the rows that decides it.
STATEMENTS = {
    "Trying 16 crops without any gradient scores more on the mean": lambda: all(
        mean("search_16", vlm) > mean("entropy_gradient", vlm) for vlm in VLMS
    ),
    "for about three times the passes": lambda: all(
        2.5 < mean("search_16", vlm, "passes") / mean("entropy_gradient", vlm, "passes") < 3.5
        for vlm in VLMS
    ),
    "It scores more than either for no more passes": a_budget_is_ahead,
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_of_the_readme_holds_in_the_rows(statement):
    assert statement in README
    assert STATEMENTS[statement]()


def test_every_sentence_about_the_rows_is_generated_or_held_against_them():
    text = (ROOT / "README.md").read_text()
    section = text.split("<!-- /findings -->")[1].split("Every claim with its verdict")[0]
    for bullet in re.split(r"\n- ", section)[1:]:
        plain = " ".join(bullet.split())
        assert plain.startswith("**Not tested.**") or any(each in plain for each in STATEMENTS)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ([], "not tested"),
        ([True, True], "holds"),
        ([True, False, True], "holds in part (2 of 3)"),
        ([False, False], "refuted"),
    ],
)
def test_a_verdict_is_one_of_four_words(outcome, expected):
    named = {Comparison(str(number)): holds for number, holds in enumerate(outcome)}
    assert short_verdict(named) == expected


def test_readme_has_a_verdict_for_every_finding_and_names_the_nearest_rival():
    beaten = above("iou", "vicrop_pure_grad_paper")(cells("table2"))
    lost = len(beaten) - sum(beaten.values())
    assert lost > len(beaten) / 2
    assert f"in {lost} of {len(beaten)} cells (as in its text)" in README
    assert f"holds in part ({len(beaten) - lost} of {len(beaten)})" in README
    for parts in CLAIMS.values():
        for claim in parts:
            assert not claim.finding or claim.text in README


def test_the_window_on_the_entropy_map_is_what_docs_cost_says():
    """Four passes, a score within the interval of the paper's loop, and not better on every VLM."""
    rows = cells("signals").rename(columns={"low": "score_low", "high": "score_high"})
    mean = mean_costs(rows).pivot_table(["score", "passes"], "vlm", "method")
    window, loop = (mean["score"][name] for name in ("window_entropy", "entropy_gradient"))
    half = half_widths(rows).set_index(["method", "vlm"])["half"]["entropy_gradient"]

    assert (mean["passes"]["window_entropy"] == 4).all()
    assert mean["passes"]["entropy_gradient"].mean() == pytest.approx(6, abs=0.3)
    assert abs(window.mean() - loop.mean()) < (half**2).sum() ** 0.5 / len(half)
    assert not (window > loop).all()


def test_evidence_names_the_means_and_the_exceptions():
    rows = pd.DataFrame(
        {
            "vlm": "tiny_llava",
            "benchmark": ["mini_vstar"] * 2 + ["mini_gqa"] * 2,
            "method": ["entropy_gradient", "control_random"] * 2,
            "score": [0.5, 0.25, 0.1, 0.9],
        }
    )
    outcome = above("score", "control_random", hidden=True)(rows)
    assert outcome == {Comparison("tiny_llava", "mini_vstar"): True}
    text = means("score", "control_random")(rows, outcome)
    assert text == "mean score 50.0 %, against 25.0 %"

    outcome = above("score", "control_random")(rows)
    assert exceptions(rows, outcome) == "except `tiny_llava` on mini-GQA"


def test_a_refuted_claim_is_called_refuted_with_what_refutes_it():
    rows = pd.DataFrame(
        {
            "vlm": "tiny_llava",
            "benchmark": ["mini_textvqa", "mini_textvqa", "mini_vstar", "mini_vstar"],
            "method": ["entropy_gradient", "map_attention"] * 2,
            "energy": [0.2, 0.1, 0.2, 0.3],
            "iou": [0.1, 0.2, 0.1, 0.2],
            "best_iou": [0.3, 0.2, 0.1, 0.2],
            "score": 0.5,
        }
    )
    said = verdict("11_table2_localization", rows)
    assert (
        "energy in the evidence than attention in the same loop: **holds in part**, in 1 of 2 "
        "comparisons; not tiny_llava mini-V*" in said
    )
    assert (
        "(IoU) than those of attention in the same loop: **refuted**, in 0 of 2 comparisons" in said
    )
    assert (
        "best crop alone has a higher IoU than that of attention in the same loop: **holds in "
        "part**, in 1 of 2 comparisons; not tiny_llava mini-V*" in said
    )
    assert "ViCrop's relative attention: **not tested**" in said


def test_a_gain_counts_only_where_it_is_significant():
    rows = pd.DataFrame(
        {
            "vlm": "v",
            "benchmark": ["mini_textvqa", "mini_vstar"] * 2,
            "method": ["entropy_gradient"] * 2 + ["plain"] * 2,
            "score": [0.9, 0.9, 0.1, 0.1],
            "p_plain": [0.001, 0.2, 1.0, 1.0],
        }
    )
    assert gains(rows) == {
        Comparison("v", "mini_textvqa"): True,
        Comparison("v", "mini_vstar"): False,
    }


def high_resolution(plain, oracle, one, three, p):
    """Cells of one VLM in percent, with the p-value of three rounds against one."""
    scores = {"plain": plain, "control_oracle": oracle, "fixed_1": one, "fixed_3": three}
    rows = pd.DataFrame({"method": list(scores), "score": [each / 100 for each in scores.values()]})
    return rows.assign(
        vlm="tiny_llava", benchmark="mini_highres", n=9, p_plain=1.0, p_ours=[1.0, 1.0, 1.0, p]
    )


def test_one_zoom_is_not_enough_if_three_rounds_are_surely_better():
    said = verdict("33_high_resolution", high_resolution(40, 80, 60, 70, 0.001))
    assert said.count("**holds**, in 1 of 1 comparisons") == 4


def test_high_resolution_counts_the_vlms_that_its_cards_were_made_for():
    rows = high_resolution(90, 95, 95, 95, 1.0)
    other = rows.assign(vlm="tiny_internvl")
    assert verdict("33_high_resolution", other).count("**not tested**") == 7
    assert "tiny_internvl" in verdict(
        "33_high_resolution", other.assign(benchmark="mini_highres_fine")
    )


@pytest.mark.parametrize(
    ("scores", "part"),
    [
        ((41, 80, 60, 70, 0.001), "The plain answer is near chance"),
        ((40, 79, 50, 70, 0.001), "With the oracle's crop it is read"),
        ((40, 80, 61, 70, 0.001), "One round stays at least 20 points behind"),
        ((40, 80, 60, 70, 0.2), "Three rounds score significantly more than one"),
        ((40, 80, 60, 50, 0.001), "Three rounds score significantly more than one"),
    ],
)
def test_each_part_of_high_resolution_can_be_refuted(scores, part):
    said = verdict("33_high_resolution", high_resolution(*scores)).splitlines()
    assert [line for line in said if "refuted" in line] == [
        line for line in said if line.startswith(f"- {part}")
    ]


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_decided_in_its_notebook(name):
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    shown = "table.show_verdict()", f'verdict("{name}", cells)'
    assert any(call in cell.source for cell in notebook.cells for call in shown)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda path: path.stem
)
def test_captions_name_only_variants_that_run(path):
    experiment = yaml.safe_load(path.read_text())
    notebook = nbformat.read(ROOT / "notebooks" / f"{experiment['notebook']}.ipynb", as_version=4)
    known = {"plain", *(each["name"] for each in experiment["variants"])}
    captions = [cell.source for cell in notebook.cells if cell.source.startswith("**Figure")]
    named = {name for text in captions for name in re.findall(r"`([a-z]\w*[\d.]*)`", text)}
    assert {name for name in named if "_" in name and not name.endswith("_N")} <= known


def test_documents_hold_tables_of_shipped_weights_only():
    from entropy_grounding.vlm.weights import TINY, weights_identities

    shipped = {
        weights_identities(f"tiny:{folder.name}")["weights"][:12]
        for folder in TINY.iterdir()
        if folder.is_dir()
    }
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        rows = [line for line in document.read_text().splitlines() if "(SHA-256)" in line]
        named = {each for line in rows for each in re.findall(r"\b[0-9a-f]{12}\b", line)}
        assert named <= shipped, document.name
