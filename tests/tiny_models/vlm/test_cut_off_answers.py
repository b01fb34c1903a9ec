"""An answer that the length limit cuts off is named, in the record and in the output."""

import json
from argparse import Namespace

import pytest

from entropy_grounding import ground
from entropy_grounding.app.question import GroundConfig, warn_cut_off
from entropy_grounding.commands.ground import main
from entropy_grounding.vlm.session import ImageSession


def length_of(vlm, prompt):
    """Return how many tokens the whole greedy answer has, with the one that ends it."""
    return len(vlm._greedy(prompt, 60))


def test_an_answer_is_cut_off_exactly_below_its_own_length(tiny_vlm, scene):
    image, question = scene
    prompt = tiny_vlm.prompt(question.text, [tiny_vlm.encode(image)])
    whole = length_of(tiny_vlm, prompt)
    assert whole >= 2
    assert tiny_vlm.generate(prompt, max_new_tokens=whole - 1).cut_off
    assert not tiny_vlm.generate(prompt, max_new_tokens=whole).cut_off
    assert not tiny_vlm.generate(prompt, max_new_tokens=whole + 1).cut_off


@pytest.mark.parametrize("ends", [[2, 999], None])
def test_several_ends_of_an_answer_count(tiny_vlm, scene, ends):
    image, question = scene
    prompt = tiny_vlm.prompt(question.text, [tiny_vlm.encode(image)])
    last = int(tiny_vlm._greedy(prompt, 60)[-1])
    settings = tiny_vlm.model.generation_config
    before = settings.eos_token_id
    settings.eos_token_id = ends and [last, *ends]
    try:
        cut_off = tiny_vlm.generate(prompt, max_new_tokens=8).cut_off
    finally:
        settings.eos_token_id = before
    assert cut_off is (ends is None)


def test_the_record_says_so(tiny_vlm, scene):
    image, question = scene
    assert ground(tiny_vlm, image, question.text, max_new_tokens=1).truncated
    assert not ground(tiny_vlm, image, question.text).truncated


def test_the_letter_of_a_choice_is_never_cut_off(tiny_vlm, scene):
    image, question = scene
    session = ImageSession(tiny_vlm, image, [("A", "red"), ("B", "blue")], max_new_tokens=1)
    answer, _ = session.answer(question.text, ())
    assert answer.text in ("A", "B")
    assert not answer.cut_off


def test_the_remedy_is_named(tiny_vlm, scene):
    image, question = scene
    cut = ground(tiny_vlm, image, question.text, max_new_tokens=1)
    assert "after 1 tokens" in warn_cut_off(cut, 1)
    assert "max_new_tokens=4" in warn_cut_off(cut, 1)
    assert not warn_cut_off(ground(tiny_vlm, image, question.text), GroundConfig().max_new_tokens)


@pytest.mark.parametrize(("limit", "cut"), [(1, True), (16, False)])
def test_the_command_says_so(tmp_path, capsys, monkeypatch, limit, cut):
    monkeypatch.setattr(
        "sys.argv",
        ["ground", "tracking=disabled", f"max_new_tokens={limit}", f"run_dir={tmp_path / 'out'}"],
    )
    main(Namespace())
    assert ("an answer was cut off after" in capsys.readouterr().err) is cut
    record = json.loads((tmp_path / "out" / "grounding.json").read_text())
    assert record["truncated"] is cut
    assert record["max_new_tokens"] == limit
