"""Parameters of a notebook: what was given is what arrives."""

from functools import partial

import nbformat
import papermill
import pytest
from jupyter_client.manager import start_new_kernel
from papermill.exceptions import PapermillExecutionError

from entropy_grounding.core.errors import InputError
from entropy_grounding.notebook import is_interactive, notebook_config, output_folder
from support.nasty_texts import NASTY


def test_a_text_of_overrides_reaches_the_configuration_of_a_notebook():
    found = notebook_config("ground", "vlm=tiny_qwen2_5_vl,method.regions.sigma=2.0", seed=3)
    assert (found.vlm.name, found.method.regions.sigma, found.seed) == ("tiny_qwen2_5_vl", 2.0, 3)


@pytest.mark.parametrize("text", NASTY)
def test_parameters_of_a_notebook_arrive_as_they_were_given(text):
    found = notebook_config("ground", image=text, question=text)
    assert (found.image, found.question) == (text, text)


def test_folders_of_a_notebook_are_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output_folder("~/made", "name") == tmp_path / "made"
    assert (tmp_path / "made").is_dir()


def test_papermill_alone_runs_no_notebook_with_an_unknown_parameter(tmp_path):
    """papermill itself only warns; the configuration of the notebook refuses."""
    parameters = nbformat.v4.new_code_cell("image = ''", metadata={"tags": ["parameters"]})
    code = (
        "from entropy_grounding.notebook import notebook_config\n"
        "print(notebook_config('ground', image=image).image)"
    )
    made = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
    made.metadata["language_info"] = {"name": "python"}
    nbformat.write(made, tmp_path / "made.ipynb")
    options = {"kernel_name": "python3", "progress_bar": False}
    for given in ({"imgae": "a.png"}, {"image": "a.png"}):
        run = partial(
            papermill.execute_notebook, tmp_path / "made.ipynb", tmp_path / "out.ipynb", given
        )
        if "image" in given:
            assert run(**options).cells[-1].outputs[0].text == "a.png\n"
        else:
            with pytest.raises(PapermillExecutionError, match="no parameter 'imgae': did you mean"):
                run(**options)


def test_widgets_are_on_where_a_cell_may_ask_for_input():
    """In a real kernel. JupyterLab allows a cell to ask; papermill, nbconvert and nbval do not."""
    code = "from entropy_grounding.notebook import is_interactive; print(is_interactive('auto'))"
    said = []
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for allowed in (True, False):
            client.execute_interactive(
                code,
                allow_stdin=allowed,
                timeout=120,
                output_hook=lambda message: said.append(message["content"].get("text")),
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [text for text in said if text] == ["True\n", "False\n"]


@pytest.mark.parametrize(
    ("given", "expected"), [(True, True), (False, False), ("True", True), ("auto", False)]
)
def test_widgets_can_be_turned_on_and_off(given, expected):
    assert is_interactive(given) is expected


def test_another_word_for_widgets_is_one_sentence():
    with pytest.raises(InputError, match="Unknown interactive 'atuo': did you mean 'auto'"):
        is_interactive("atuo")
