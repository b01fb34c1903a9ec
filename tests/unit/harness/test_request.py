"""What a task of lmms-eval may ask, and what is refused in one sentence."""

import importlib
import importlib.util

import pytest
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.harness.config import harness_config
from entropy_grounding.harness.request import MAX_NEW_TOKENS, answer_length, read_request

PICTURE = {"type": "image", "url": Image.new("L", (4, 3))}
TEXT = {"type": "text", "text": "What is it?\nOne word."}


def turn(*parts, role="user"):
    return {"role": role, "content": list(parts)}


def test_one_image_and_one_text_are_a_question():
    asked = read_request([turn(PICTURE, TEXT)], {"until": ["\n\n", "", "USER:"]}, "Document 0")
    assert (asked.image.mode, asked.text) == ("RGB", TEXT["text"])
    assert asked.until == ("\n\n", "USER:")
    assert asked.cut("A B\n\nUSER: C") == asked.cut("A BUSER: C") == "A B"
    assert asked.cut("A B") == "A B"


@pytest.mark.parametrize(
    "messages",
    [
        [turn(TEXT)],
        [turn(PICTURE, PICTURE, TEXT)],
        [turn(TEXT, PICTURE)],
        [turn({"type": "video", "url": "a.mp4"}, TEXT)],
        [turn(TEXT, role="system"), turn(PICTURE, TEXT)],
        [],
    ],
)
def test_anything_else_is_refused(messages):
    with pytest.raises(InputError, match="Document 5 of 'task' asks with .*one image and then one"):
        read_request(messages, {}, "Document 5 of 'task'")


def test_a_picture_file_is_read(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    parts = ({"type": "image", "url": str(tmp_path / "a.png")}, TEXT)
    assert read_request([turn(*parts)], {}, "").image.size == (40, 30)


@pytest.mark.parametrize(
    ("limits", "length"),
    [
        ({"max_new_tokens": 16, "temperature": 0, "top_p": 1.0, "num_beams": 1}, 16),
        ({"temperature": 0.7, "do_sample": False, "max_new_tokens": 8}, 8),
        ({"until": ["ASSISTANT:"]}, MAX_NEW_TOKENS),
    ],
)
def test_greedy_tasks_have_a_length(limits, length):
    assert answer_length(limits, "task") == length


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"do_sample": True}, "do_sample=True"),
        ({"temperature": 0.7}, "do_sample=True"),
        ({"num_beams": 4}, "num_beams=4"),
        ({"repetition_penalty": 1.2}, "repetition_penalty=1.2"),
    ],
)
def test_tasks_that_are_not_greedy_are_refused(limits, named):
    with pytest.raises(InputError, match=rf"'task' asks for answers with {named}"):
        answer_length(limits, "task")


# --- Model arguments ---


def test_model_arguments_are_hydra_overrides():
    config = harness_config(["vlm=qwen2_5_vl_7b", "method=gated", "method.regions.max_regions=3"])
    assert (config.vlm.name, config.method_name) == ("qwen2_5_vl_7b", "gated")
    assert config.method.regions.max_regions == 3


def test_the_name_of_the_method_can_be_given():
    assert harness_config([]).method_name == "entropy_gradient"
    assert harness_config(["method=gated", "method_name=mine"]).method_name == "mine"


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("pretrained=x", "pretrained"),
        ("vlm=tiny_lava", "tiny_lava"),
        ("benchmark=mini_gqa", "benchmark"),
        ("method.regions.max_region=3", "max_region"),
    ],
)
def test_unknown_model_arguments_are_named(argument, named):
    with pytest.raises(InputError, match=named):
        harness_config([argument])


@pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is not None, reason="lmms-eval is installed"
)
def test_without_lmms_eval_the_model_says_how_to_install_it():
    with pytest.raises(InputError, match=r"lmms-eval cannot be imported .*make harness"):
        importlib.import_module("entropy_grounding.harness.lmms_eval")
