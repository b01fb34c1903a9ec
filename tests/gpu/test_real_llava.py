"""Opt-in: the real LLaVA-1.5 7B on a GPU.

``pytest -m gpu tests/gpu`` with the checkpoint in the hub cache.
"""

import pytest
import torch

from entropy_grounding import ground, load_vlm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def test_the_7b_checkpoint_grounds_a_scene(scene):
    image, question = scene
    grounding = ground(load_vlm("llava_1_5_7b"), image, question.text)
    assert grounding.steps[0].maps[0].values.shape == (24, 24)
    assert grounding.answer
