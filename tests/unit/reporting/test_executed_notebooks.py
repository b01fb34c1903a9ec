"""Executed notebooks: small, and without what changes from run to run."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.reporting.executed_notebooks import encode, relink, shrink, tidy


def notebook_with(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    cell = nbformat.v4.new_code_cell(
        "1", outputs=[nbformat.v4.new_output("display_data", data=data)]
    )
    return nbformat.v4.new_notebook(cells=[cell])


@pytest.fixture
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 200, 3), dtype=np.uint8))


def test_a_notebook_with_large_pictures_gets_small(noise):
    notebook = notebook_with(noise)
    assert len(nbformat.writes(notebook)) > 40_000
    shrink(notebook, 40_000)
    assert len(nbformat.writes(notebook)) < 40_000


def test_a_small_notebook_stays_as_it_is():
    notebook = notebook_with(Image.new("RGB", (20, 20)))
    before = nbformat.writes(notebook)
    shrink(notebook)
    assert nbformat.writes(notebook) == before


def test_too_many_pictures_are_an_error(noise):
    with pytest.raises(InputError, match="show fewer pictures"):
        shrink(notebook_with(noise), 1_000)


def test_a_plain_drawing_stays_a_png_and_a_transparent_ground_turns_white():
    kind, content = encode(Image.new("RGBA", (50, 50)), 1.0, 85)
    assert kind == "image/png"
    assert Image.open(io.BytesIO(content)).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_times_bars_and_widgets_are_removed():
    shown = nbformat.v4.new_output("stream", name="stdout", text="kept")
    bar = nbformat.v4.new_output("stream", name="stderr", text="50%")
    widget = nbformat.v4.new_output(
        "display_data", data={"application/vnd.jupyter.widget-view+json": {}}
    )
    cell = nbformat.v4.new_code_cell(
        "1", outputs=[shown, bar, widget], metadata={"papermill": {"duration": 1}, "execution": {}}
    )
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {}, "widgets": {}})
    tidy(notebook)
    assert notebook.cells[0].outputs == [shown]
    assert not notebook.metadata
    assert not notebook.cells[0].metadata


def test_links_of_the_text_lead_out_of_the_deeper_folder_of_copies():
    cells = [
        nbformat.v4.new_markdown_cell("[words](../docs/definitions.md), [here](#a)"),
        nbformat.v4.new_code_cell("'](../docs'"),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    relink(notebook)
    assert notebook.cells[0].source == "[words](../../docs/definitions.md), [here](#a)"
    assert notebook.cells[1].source == "'](../docs'"
