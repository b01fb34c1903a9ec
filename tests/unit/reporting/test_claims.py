"""Sentences that name results, each held against the stored rows."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from entropy_grounding.benchmarks.miniature.requirements import HIDDEN
from entropy_grounding.evaluation.archive import read_summary
from entropy_grounding.reporting.claims import CLAIMS, above, gains, verdict, without, worse
from entropy_grounding.reporting.comparisons import differences, dominating_methods, mean_costs
from entropy_grounding.reporting.experiment import summary_records

ROOT = Path(__file__).resolve().parents[3]
README = " ".join((ROOT / "README.md").read_text().split())


def cells(experiment):
    """The summary of an experiment as `report` stores it."""
    return summary_records(ROOT / "results", experiment).rename(columns={"value": "score"})


def league():
    return read_summary(ROOT / "results" / "measured" / "cells.json")


def count(check, experiment):
    outcome = check(cells(experiment))
    return f"{sum(outcome.values())} of {len(outcome)}"


def beaten(name):
    outcome = above("iou", name)(cells("table2"))
    return f"{len(outcome) - sum(outcome.values())} of {len(outcome)}"


def all_hold(check, experiment):
    outcome = check(cells(experiment))
    return bool(outcome) and all(outcome.values())


def changed(experiment, method=None):
    """(method, vlm, benchmark): "better" or "worse", for what is significant."""
    found = differences(cells(experiment))
    sure = found[(found["p"] < 0.05) & ((found["method"] == method) | (method is None))]
    return {
        (row.method, row.vlm, row.benchmark): "better" if row.change > 0 else "worse"
        for row in sure.itertuples()
    }


def mean(method, vlm, column="score"):
    return mean_costs(league(), "passes").set_index(["method", "vlm"])[column].get((method, vlm))


VLMS = ("tiny_llava", "tiny_llava_next", "tiny_internvl", "tiny_qwen2_5_vl")
FAMILIES = ("tiny_llava", "tiny_qwen2_5_vl")  # of the ablations


def most_of_all_but_oracles(vlm):
    table = mean_costs(league())
    mine = table[(table["vlm"] == vlm) & ~table["method"].str.startswith("control_oracle")]
    return mine.loc[mine["score"].idxmax(), "method"]


def later_stops_score_more_on_infovqa():
    found = changed("ablation_stopping")
    table = cells("ablation_stopping").set_index(["method", "vlm", "benchmark"])["passes"]
    return all(
        found.get((rule, vlm, "infovqa")) == "better"
        and table[(rule, vlm, "infovqa")] > table[("entropy_gradient", vlm, "infovqa")]
        for rule in ("fixed_2", "no_rule")
        for vlm in FAMILIES
    )


def wins():
    found = differences(league())
    return found[(found["p"] < 0.05) & (found["change"] > 0)]


# What README says, and the check of the rows that decides it.
SENTENCES = {
    "energy in the evidence than attention has, in {} comparisons": lambda: count(
        above("energy", "map_attention"), "table2"
    ),
    "windows of ViCrop's relative attention ({})": lambda: count(
        above("iou", "vicrop_rel_att"), "table2"
    ),
    "and gradient attention ({})": lambda: count(above("iou", "vicrop_grad_att"), "table2"),
    "overlap it more than ours in {} (as its code)": lambda: beaten("vicrop_pure_grad"),
    "and {} (as its text)": lambda: beaten("vicrop_pure_grad_paper"),
    "better in {} cells, all of them trying crops on POPE": lambda: (
        f"{len(wins())} of {len(differences(league()))}"
    ),
}
STATEMENTS = {
    (
        "Entropy, the log-probability of the best token and the margin make maps that answer alike"
    ): lambda: (
        not (
            changed("ablation_objective", "map_log_probability")
            or changed("ablation_objective", "margin")
        )
    ),
    "gradient x input makes a worse one where evidence is hidden": lambda: all_hold(
        worse(("map_gradient_x_input",), HIDDEN), "ablation_objective"
    ),
    (
        "two fixed rounds, or no rule at all, score more on InfoVQA in both families, "
        "at more passes"
    ): later_stops_score_more_on_infovqa,
    "More than two regions help significantly only Qwen2.5-VL on InfoVQA": lambda: (
        set(changed("ablation_regions").items())
        == {((f"regions_{k}", "tiny_qwen2_5_vl", "infovqa"), "better") for k in (4, 5)}
    ),
    "Twice the blur hurts on TextVQA and InfoVQA": lambda: (
        set(changed("ablation_map_to_region", "sigma_3").items())
        == {
            (("sigma_3", vlm, name), "worse") for vlm in FAMILIES for name in ("textvqa", "infovqa")
        }
    ),
    "none helps LLaVA on InfoVQA": lambda: (
        changed("ablation_map_to_region", "sigma_0")
        == {("sigma_0", "tiny_llava", "infovqa"): "better"}
    ),
    "thresholds and neighbours change nothing significantly": lambda: (
        not any(
            changed("ablation_map_to_region", name)
            for name in ("half_max", "quantile_0.9", "connectivity_8")
        )
    ),
    (
        "A map after one or three of four layers, or of the second answer token, "
        "is nowhere significantly better"
    ): lambda: all_hold(
        without("better", ("token_2", "layers_1", "layers_3")), "ablation_token_layer"
    ),
    (
        "trying 16 crops without a gradient scores most of all that do not know the evidence, "
        "on every tiny VLM"
    ): lambda: all(most_of_all_but_oracles(vlm) == "search_16" for vlm in VLMS),
    "at about three times the passes": lambda: all(
        2.5 < mean("search_16", vlm, "passes") / mean("entropy_gradient", vlm, "passes") < 3.5
        for vlm in VLMS
    ),
    "8 crops are far behind": lambda: all(
        mean("search_8", vlm) < mean("entropy_gradient", vlm) - 0.05 for vlm in VLMS
    ),
    (
        "as in its text, scores as much or more for fewer passes on the tiny LLaVA and InternVL, "
        "less on the other two"
    ): lambda: (
        {
            vlm
            for vlm, methods in dominating_methods(league()).items()
            if "vicrop_pure_grad_paper" in set(methods["method"])
        }
        == {"tiny_llava", "tiny_internvl"}
        and all(
            mean("vicrop_pure_grad_paper", vlm) < mean("entropy_gradient", vlm)
            for vlm in ("tiny_llava_next", "tiny_qwen2_5_vl")
        )
    ),
    (
        "The map of the log-probability is nowhere significantly different from the entropy's"
    ): lambda: (
        not (
            (differences(league())["method"] == "map_log_probability")
            & (differences(league())["p"] < 0.05)
        ).any()
    ),
    "all of them trying crops on POPE": lambda: (
        set(wins()["benchmark"]) == {"pope"} and wins()["method"].str.startswith("search").all()
    ),
    (
        "A gate that skips what needs no zoom keeps nearly the whole gain "
        "at four fifths of the passes"
    ): lambda: gate_keeps_the_gain(),
}


def gate_keeps_the_gain():
    """Of the table in docs/cost.md, which another test holds against the rows."""
    measured = (ROOT / "docs" / "cost.md").read_text().splitlines()
    line = next(
        line for line in measured if line.startswith("| all ")
    )  # the first table; the second is cross-validation
    kept, passes = (float(cell.strip(" %")) for cell in line.split("|")[-3:-1])
    return kept >= 95 and 75 <= passes <= 85


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_number_in_the_readme_is_that_of_the_rows(sentence):
    assert sentence.format(SENTENCES[sentence]()) in README


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_of_the_readme_holds_in_the_rows(statement):
    assert statement in README
    assert STATEMENTS[statement]()


def test_every_statement_about_the_tables_is_held_against_the_rows():
    text = (ROOT / "README.md").read_text()
    section = text[text.index("What the tables say") : text.index("Is it the place, or any crop?")]
    known = [re.escape(each).replace(r"\{\}", ".*?") for each in (*SENTENCES, *STATEMENTS)]
    for bullet in re.split(r"\n- ", section)[1:]:
        plain = " ".join(bullet.split())
        assert any(re.search(each, plain) for each in known), plain


def test_a_refuted_claim_is_called_refuted_with_what_refutes_it():
    rows = pd.DataFrame(
        {
            "vlm": "tiny_llava",
            "benchmark": ["textvqa", "textvqa", "vstar", "vstar"],
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
        "comparisons; not tiny_llava vstar" in said
    )
    assert (
        "higher IoU than those of attention in the same loop: **refuted**, in 0 of 2 comparisons"
        in said
    )
    assert (
        "best crop alone has a higher IoU than that of attention in the same loop: **holds in "
        "part**, in 1 of 2 comparisons; not tiny_llava vstar" in said
    )
    assert "ViCrop's relative attention: **not tested**" in said


def test_a_gain_counts_only_where_it_is_significant():
    rows = pd.DataFrame(
        {"vlm": "v", "benchmark": ["textvqa", "vstar"], "method": "entropy_gradient", "n": 9}
    )
    rows = rows.assign(p_plain=[0.001, 0.2], gained=[9, 9], lost=[0, 0])
    assert gains(rows) == {"v textvqa": True, "v vstar": False}


def high_resolution(plain, oracle, one, three, p):
    """Cells of one VLM in percent, with the p-value of three rounds against one."""
    scores = {"plain": plain, "control_oracle": oracle, "fixed_1": one, "fixed_3": three}
    rows = pd.DataFrame({"method": list(scores), "score": [each / 100 for each in scores.values()]})
    return rows.assign(vlm="tiny_llava", benchmark="highres", n=9, p_ours=[1.0, 1.0, 1.0, p])


def test_one_zoom_is_not_enough_if_three_rounds_are_surely_better():
    said = verdict("33_high_resolution", high_resolution(40, 80, 60, 70, 0.01))
    assert said.count("**holds**, in 1 of 1 comparisons") == 4


def test_high_resolution_counts_the_vlms_that_its_cards_were_made_for():
    rows = high_resolution(90, 95, 95, 95, 1.0)
    other = rows.assign(vlm="tiny_internvl")
    assert verdict("33_high_resolution", other).count("**not tested**") == 7
    assert "tiny_internvl" in verdict("33_high_resolution", other.assign(benchmark="highres_fine"))


@pytest.mark.parametrize(
    ("scores", "part"),
    [
        ((41, 80, 60, 70, 0.01), "The plain answer is near chance"),
        ((40, 79, 50, 70, 0.01), "With the oracle's crop it is read"),
        ((40, 80, 61, 70, 0.01), "One round stays at least 20 points behind"),
        ((40, 80, 60, 70, 0.2), "Three rounds score significantly more than one"),
        ((40, 80, 60, 50, 0.01), "Three rounds score significantly more than one"),
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
