from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from entropy_grounding.app.output import write_figure
from entropy_grounding.core.geometry import Box
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import elbow_threshold
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.plots import (
    plot_boxes,
    plot_elbow,
    plot_grounding,
    plot_token_grid,
    plot_values,
)
from entropy_grounding.reporting.charts import plot_scores


def titles(figure):
    return [
        title
        for axes in figure.axes
        for title in (axes.get_title(), axes.get_title(loc="left"))
        if title
    ]


def test_every_round_is_a_row_and_the_answer_is_the_last(tiny_vlm, scene):
    image, question = scene
    grounding = ground(
        tiny_vlm,
        image,
        question.text,
        GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=2)),
    )
    figure = plot_grounding(grounding, image)
    shown = titles(figure)
    assert [title.split(":")[0] for title in shown if title.startswith("round")] == [
        "round 0",
        "round 1",
    ]
    assert f"answer: {grounding.answer}" in shown
    assert question.text in figure.get_suptitle()
    plt.close(figure)


def test_rounds_beyond_the_limit_are_named(tiny_vlm, scene):
    image, question = scene
    grounding = ground(
        tiny_vlm,
        image,
        question.text,
        GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=3)),
    )
    figure = plot_grounding(grounding, image, max_rounds=1)
    assert "2 more rounds" in figure.get_suptitle()
    plt.close(figure)


def test_no_zoom_shows_the_image_alone(tiny_vlm, scene):
    image, question = scene
    figure = plot_grounding(
        ground(
            tiny_vlm, image, question.text, GroundingOptions(stopping=StoppingOptions(max_rounds=0))
        ),
        image,
    )
    assert len(titles(figure)) == 1
    plt.close(figure)


def test_the_elbow_is_marked_on_the_sorted_values():
    figure, (left, right) = plt.subplots(1, 2)
    values = np.random.default_rng(0).exponential(size=(5, 6))
    threshold = elbow_threshold(values)
    plot_values(left, values, title="map")
    plot_elbow(right, values, threshold)
    (marker,) = [line for line in right.lines if line.get_marker() == "o"]
    assert marker.get_ydata() == threshold
    assert np.sort(values.ravel())[int(marker.get_xdata()[0])] == threshold
    plt.close(figure)


def test_the_padding_of_a_token_grid_is_hatched(tiny_vlm):
    """A picture half as high as wide fills the middle four of eight rows of the padded square."""
    image = Image.new("RGB", (200, 100))
    figure, axes = plt.subplots()
    plot_token_grid(axes, image, tiny_vlm.encode(image).views[0])
    assert sum(patch.get_hatch() is not None for patch in axes.patches) == 4 * 8
    assert len(axes.patches) == 8 * 8
    plt.close(figure)


NASTY = [
    r"$\frac{1}$ or $x$?",
    r"a_b^c \alpha $$ {} %",
    "two\nlines\tand\x00control",
    "word " * 400,
    "x" * 3000,
    "مرحبا שלום",
    "日本 \U0001f600 \ue000",
    " ",
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", NASTY)
def test_texts_in_pictures_are_texts(text, tiny_vlm, scene, tmp_path):
    grounding = ground(
        tiny_vlm,
        scene[0],
        scene[1].text,
        GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=1)),
    )
    named = replace(grounding, question=text, plain_answer=text, answer=text)
    written = write_figure(tmp_path, named, scene[0])
    assert not any(each.get_parse_math() for each in written.findobj(Text) if each.get_text())
    assert {path.name for path in tmp_path.iterdir()} == {"grounding.png"}
    with Image.open(tmp_path / "grounding.png") as drawn:
        assert max(drawn.size) < 4000
    plt.close(written)


def test_names_with_dollar_signs_are_drawn_everywhere(scene):
    figure, axes = plt.subplots()
    plot_boxes(axes, [Box(1, 1, 9, 9)], [r"$\frac$"])
    plot_values(axes, np.eye(3), title=r"$\frac$")
    scores = pd.DataFrame(
        {
            "vlm": [r"$\a$"] * 2,
            "benchmark": ["b"] * 2,
            "method": [r"$\frac$"] * 2,
            "score": [0.0, 1.0],
        }
    )
    plot_scores(scores).canvas.draw()
    figure.canvas.draw()
    plt.close("all")


def test_the_settings_of_the_caller_stay(scene):
    assert plt.rcParams["text.parse_math"]


@pytest.mark.parametrize("benchmark", ["mini_docvqa", "mini_pope"])
def test_a_stored_example_is_grounded_again_as_it_was(tiny_vlm, pytestconfig, benchmark):
    """With the benchmark's own length of answers."""
    from entropy_grounding.evaluation.archive import load_rows
    from entropy_grounding.reporting.gallery import regrounded

    rows, source = load_rows(
        pytestconfig.rootpath
        / "results"
        / "rows"
        / "table1"
        / "tiny_llava"
        / benchmark
        / "entropy_gradient"
    )
    stored = rows.iloc[3]
    grounding, _ = regrounded(tiny_vlm, source, stored["example_id"])
    assert (grounding.plain_answer, grounding.answer) == (stored["plain_answer"], stored["answer"])
    assert [list(box.xyxy()) for box in grounding.crops] == [list(box) for box in stored["crops"]]
