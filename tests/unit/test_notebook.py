"""Parameters of a notebook: what was given is what arrives."""

import pytest

from entropy_grounding.notebook import notebook_config, output_folder
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
