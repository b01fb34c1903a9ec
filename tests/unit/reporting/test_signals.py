"""The table of signals and procedures: its fields, what is missing, and its methods."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from entropy_grounding.core.paths import names_in
from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.reporting.charts import plot_signals
from entropy_grounding.reporting.claims import verdict
from entropy_grounding.reporting.labels import method_kind, method_label
from entropy_grounding.reporting.signals import PROCEDURES, SIGNALS, signal_table, signal_values


def table(*methods, vlms=("tiny_llava",)):
    """Cells in which method number k scores 10 (k + 1) %, and 20 points more where it is hidden."""
    lines = []
    for vlm in vlms:
        for benchmark, more in (("mini_vstar", 0.2), ("mini_gqa", 0.0)):
            for place, method in enumerate(methods):
                score = 0.1 + 0.1 * place + more
                limits = {"score_low": score - 0.05, "score_high": score + 0.05}
                line = {"vlm": vlm, "benchmark": benchmark, "method": method, "n": 20}
                lines.append({**line, **limits, "score": score, "passes": 3.0, "iou": more + 0.1})
    return pd.DataFrame(lines)


def field(text, signal, procedure):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {signal} ")]
    return line.strip("|").split("|")[1 + PROCEDURES.index(procedure)].strip()


def test_a_field_has_score_passes_and_the_overlap_where_evidence_is_hidden():
    text = signal_table(table("entropy_gradient", "window_entropy"))
    assert field(text, "entropy gradient, tokens", "components + zoom") == "20.0 (3.0; 0.300)"
    assert field(text, "entropy gradient, tokens", "one window") == "30.0 (3.0; 0.300)"


def test_a_method_without_rows_was_not_run_and_one_that_is_none_has_a_dash():
    text = signal_table(table("entropy_gradient"))
    assert field(text, "attention, tokens", "search") == "not run"
    assert field(text, "none: central crops", "search") == "-"


def test_a_mean_over_vlms_needs_all_of_them():
    cells = table("entropy_gradient", vlms=("tiny_llava", "tiny_internvl"))
    part = pd.concat([cells, table("map_attention")])
    assert field(signal_table(part), "attention, tokens", "components + zoom") == "not run"
    alone = signal_table(part, "tiny_llava")
    assert field(alone, "attention, tokens", "components + zoom") == "20.0 (3.0; 0.300)"


def test_the_table_holds_every_variant_of_the_experiment_once():
    variants = [each.name for each in load_experiment("signals", "mini").variants()]
    methods = [method for row in SIGNALS.values() for method in row if method]
    assert sorted(methods) == sorted(variants)


@pytest.mark.parametrize(
    ("start", "kind"), [("window_", "ViCrop"), ("ranked_", "search"), ("found_", "other map")]
)
def test_new_methods_have_labels_and_the_kind_of_their_procedure(start, kind):
    methods = [name for name in names_in("method") if name.startswith(start)]
    assert methods
    for method in methods:
        assert method_kind(method) == kind
        assert method_label(method) != method.replace("_", " ")


def test_a_cascade_is_of_the_papers_kind_as_the_gate():
    assert (method_label("anytime"), method_kind("anytime")) == ("anytime", method_kind("gated"))


def test_the_chart_has_a_row_per_signal_and_a_panel_per_vlm():
    cells = table("vicrop_pure_grad_paper", "found_pixels", vlms=("tiny_llava", "tiny_internvl"))
    figure = plot_signals(cells)
    assert [axes.get_title() for axes in figure.axes] == ["tiny_llava", "tiny_internvl"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(SIGNALS)
    assert "20.0 with mask and window" in " ".join(figure.get_suptitle().split())
    plt.close(figure)


def test_a_claim_about_the_mask_is_decided_by_rows_with_and_without_it():
    said = verdict("36_signals", table("window_pixels_unmasked", "vicrop_pure_grad_paper"))
    assert "without it, scores more: **holds**, in 1 of 1 comparisons" in said
    assert "without it, overlaps the evidence more (IoU): **refuted**" in said
    assert "components and zoom, scores more: **not tested**" in said


def test_values_of_a_search_stand_under_search():
    values = signal_values(table("ranked_entropy"))
    assert list(values["procedure"]) == ["search"]
