"""What every figure keeps: order, names, colors, message and files."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from PIL import Image

from entropy_grounding.benchmarks.names import TITLES, chance_score, in_paper_order
from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.metrics.statistics import interval
from entropy_grounding.plots import STYLE, save_figure
from entropy_grounding.reporting.charts import (
    in_vlm_order,
    plot_cost,
    plot_over_number,
    plot_variants,
)
from entropy_grounding.reporting.figures_page import captions
from entropy_grounding.reporting.labels import (
    KIND_COLORS,
    in_method_order,
    method_color,
    method_kind,
    method_label,
)
from entropy_grounding.reporting.place_intervals import with_intervals

ROOT = Path(__file__).resolve().parents[3]


def table(*methods, benchmarks=("mini_gqa", "mini_textvqa")):
    """Cells of one VLM in which every method scores more than the one before it."""
    lines = [
        {
            "vlm": "tiny_llava",
            "benchmark": benchmark,
            "method": method,
            "n": 20,
            "score": 0.2 + 0.1 * place,
            "score_low": 0.1 + 0.1 * place,
            "score_high": 0.3 + 0.1 * place,
            "p_plain": 1e-6,
            "p_ours": 1e-6,
            "passes": 1.0 + place,
        }
        for benchmark in benchmarks
        for place, method in enumerate(methods)
    ]
    return pd.DataFrame(lines)


@pytest.fixture
def chart():
    yield plot_variants(table("plain", "entropy_gradient", "control_oracle"))
    plt.close("all")


def test_a_chart_is_saved_as_png_and_pdf_without_a_date(chart, tmp_path):
    first = [path.read_bytes() for path in save_figure(chart, tmp_path / "one.png")]
    again = [path.read_bytes() for path in save_figure(chart, tmp_path / "two.png")]
    assert first == again
    assert b"CreationDate" not in first[1]
    assert first[0].startswith(b"\x89PNG")
    assert first[1].startswith(b"%PDF")


def test_a_png_has_a_palette(chart, tmp_path):
    with Image.open(save_figure(chart, tmp_path / "one.png")[0]) as drawn:
        assert drawn.mode == "P"


def test_a_figure_with_a_picture_has_no_pdf(tmp_path):
    figure, axes = plt.subplots()
    axes.imshow(np.zeros((4, 4)))
    assert save_figure(figure, tmp_path / "one.png") == [tmp_path / "one.png"]
    plt.close(figure)


def test_panels_stand_in_the_order_of_the_paper(chart):
    titles = [axes.get_title().replace("\n", "") for axes in chart.axes]
    assert titles == ["mini-TextVQA", "mini-GQA"]
    assert in_paper_order(reversed(TITLES)) == list(TITLES)


def test_plain_ours_and_oracle_stand_in_this_order():
    shuffled = ["control_oracle", "control_random", "plain", "my_method", "entropy_gradient"]
    assert in_method_order(shuffled) == [
        "plain",
        "entropy_gradient",
        "my_method",
        "control_random",
        "control_oracle",
    ]


def test_the_title_counts_significant_cells(chart):
    assert "significantly more than the plain answer in 2 of 2 cells" in " ".join(
        chart.get_suptitle().split()
    )


def test_a_reference_is_called_by_its_value():
    assert method_label("entropy_gradient", "ablation_regions") == "K = 2 (paper)"
    assert method_label("of_a_user") == "of a user"


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("plain", "plain"),
        ("entropy_gradient", "paper"),
        ("gated", "paper"),
        ("vicrop_pure_grad_paper", "ViCrop"),
        ("search_16", "search"),
        ("map_attention", "other map"),
        ("control_oracle", "control"),
    ],
)
def test_a_method_has_the_color_of_its_kind(method, kind):
    assert method_kind(method) == kind
    assert method_color(method) == KIND_COLORS[kind]


def test_kinds_differ_in_color():
    assert len(set(KIND_COLORS.values())) == len(KIND_COLORS)


def test_no_letter_is_smaller_than_seven_points(chart):
    assert min(value for name, value in STYLE.items() if name.endswith("size")) >= 7
    texts = chart.findobj(lambda each: hasattr(each, "get_fontsize") and each.get_text())
    assert min(text.get_fontsize() for text in texts) >= 7


def test_chance_is_drawn_where_there_is_chance():
    assert (chance_score("mini_pope"), chance_score("mini_textvqa")) == (0.5, None)


def test_the_number_of_regions_is_an_axis():
    figure = plot_over_number(table("plain", "entropy_gradient", "regions_1", "regions_3"))
    assert list(figure.axes[0].get_xticks()) == [1, 2, 3]
    plt.close(figure)


def test_a_significant_number_of_regions_is_filled_above_the_empty_points():
    figure = plot_over_number(table("plain", "entropy_gradient", "regions_1"))
    axes = figure.axes[0]
    (filled,) = [drawn for drawn in axes.collections if isinstance(drawn, PathCollection)]
    assert len(filled.get_offsets()) == 1
    assert filled.get_zorder() > max(line.get_zorder() for line in axes.lines)
    plt.close(figure)


def test_vlms_stand_in_the_order_of_the_paper():
    assert in_vlm_order(["mine", "tiny_internvl", "tiny_llava"]) == [
        "tiny_llava",
        "tiny_internvl",
        "mine",
    ]


def test_a_place_has_the_interval_of_its_examples(tmp_path):
    folder = tmp_path / "tiny_llava" / "mini_gqa" / "entropy_gradient"
    rows = pd.DataFrame({"number": range(5), "status": ["ok"] * 4 + ["failed"]})
    write_results(folder, rows.assign(iou=[0.1, 0.2, 0.3, 0.4, 9.0], best_iou=0.5), {})
    cells = table("plain", "entropy_gradient", benchmarks=("mini_gqa",)).assign(iou=[None, 0.25])
    folders = {("tiny_llava", "mini_gqa", "entropy_gradient"): folder}
    plain, ours = with_intervals(cells, folders, "iou").to_dict("records")
    expected = interval([0.1, 0.2, 0.3, 0.4])
    assert (ours["iou_low"], ours["iou_high"]) == (expected.low, expected.high)
    assert np.isnan(plain["iou_low"])


def test_a_cost_that_one_chooses_is_a_line():
    cells = table("plain", "entropy_gradient")
    curve = pd.DataFrame(
        {"vlm": "tiny_llava", "method": "anytime", "passes": [2.0, 3.0], "score": [0.3, 0.4]}
    )
    figure = plot_cost(cells, curves=curve)
    lines = [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert [2.0, 3.0] in lines
    plt.close(figure)


def test_the_page_of_figures_has_every_figure_with_its_caption():
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for name, caption in captions(notebook).items():
            assert caption, f"{notebook.name}: {name}"


def test_the_galleries_have_a_figure_of_their_own():
    assert "30_gallery" in captions(ROOT / "notebooks" / "30_gallery.ipynb")
    assert "31_failures" in captions(ROOT / "notebooks" / "31_failures.ipynb")
