"""SmolVLM: tiles named by text tokens, and a longest edge where others have a number of pixels."""

import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.memory import Loop, fitting
from entropy_grounding.vlm.model import VLM
from support.families import GEOMETRIES, Case


@pytest.fixture(scope="module")
def case():
    build, variants, sizes = GEOMETRIES["smolvlm"]
    return Case("smolvlm", build, variants[0], sizes[0])


def test_the_whole_image_is_a_view_behind_the_tiles(case):
    views = case.vlm("all").encode(case.image()).views
    assert [view.shape for view in views] == [(4, 6), (2, 2)]  # 2 x 3 tiles of 2 x 2 tokens
    assert [int(view.token_indices.min()) for view in views] == [0, 24]
    assert views[0].token_indices[0].tolist() == [0, 1, 4, 5, 8, 9]


def test_tokens_of_text_lie_between_the_tiles(case):
    vlm = case.vlm()
    prompt = vlm.prompt("what ?", [vlm.encode(case.image())])
    places = vlm.places(prompt).nonzero()[:, 0]
    assert places[-1] - places[0] + 1 > len(places) == prompt.visual_tokens


def test_its_longest_edge_is_no_budget_of_pixels(case, tmp_path):
    vlm = case.vlm()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="vlm.max_pixels has no meaning for 'smol'"):
        load_vlm(VLMConfig(name="smol", weights=str(tmp_path), max_pixels=4096))
    with pixels_scaled(vlm.processor, 0.5) as possible:
        assert not possible
    about = vlm.model.config, vlm.processor, vlm.family, vlm.model.dtype
    assert fitting(*about, 0.0, Loop((200, 120), crops=1)) is None


def test_labels_begin_a_line(case):
    vlm = case.vlm()
    labelled = VLM(vlm.model, vlm.processor, vlm.family, "smolvlm", image_labels=True)
    assert "User:Image-1: <image>\nImage-2: <image>\nwhat ?" in labelled.chat_text("what ?", 2)


def test_the_pictures_of_llava_onevision_have_no_labels():
    """Its template puts all pictures before the text."""
    build, variants, sizes = GEOMETRIES["llava_onevision"]
    vlm = Case("llava_onevision", build, variants[0], sizes[0]).vlm()
    with pytest.raises(InputError, match="vlm.image_labels=true has no meaning here"):
        VLM(vlm.model, vlm.processor, vlm.family, "onevision", image_labels=True)
