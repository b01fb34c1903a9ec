"""Attention maps hold one row per layer, equal to the last row of the whole matrices."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from entropy_grounding.core.geometry import Box
from entropy_grounding.method.target import max_log_probability
from entropy_grounding.vlm.contexts import eager, frozen
from support.families import CASES, TINY

QUESTION = "What letter is on the red card?"
SMALL = ("llava-0-200x120", "llava_next-0-60x150", "internvl-0-200x120", "qwen2_5_vl-0-60x150")
# A small model with random weights and the trained one of each family.
MODELS = [case for case in CASES if case.name in SMALL] + TINY[::2]


class Shapes(TorchDispatchMode):
    """Record the shapes of all tensors that are computed in a block."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.shapes.add(tuple(leaf.shape))
        return result


@pytest.fixture(scope="module", params=MODELS, ids=lambda case: case.name)
def asked(request):
    """Return a model and a prompt with the image and two crops."""
    vlm, image = request.param.vlm(), request.param.image()
    boxes = (None, Box(8, 6, 48, 38), Box(0, 0, 40, 40))
    return vlm, vlm.prompt(QUESTION, [vlm.encode(image, box) for box in boxes])


def whole_matrices(vlm, prompt, target):
    """Return logits, last rows and their gradients from one eager pass over all positions."""
    leaf = torch.cat(prompt.features).clone().requires_grad_()
    with frozen(vlm.model), eager(vlm.model.get_decoder()), torch.enable_grad():
        out = vlm.model(
            **prompt.inputs,
            mm_encoder_outputs=vlm._packed(leaf, prompt.features),
            logits_to_keep=1,
            use_cache=False,
            output_attentions=True,
        )
        gradients = torch.autograd.grad(target(out.logits[0, -1]), out.attentions)

    places = vlm.places(prompt)
    rows = [
        torch.stack([matrix[0, :, -1][:, places] for matrix in matrices]).detach()
        for matrices in (out.attentions, gradients)
    ]
    return out.logits[0, -1].detach(), *rows


def test_rows_and_gradients_equal_those_of_the_whole_matrices(asked):
    vlm, prompt = asked
    logits, weights, gradients = whole_matrices(vlm, prompt, max_log_probability)

    found = vlm.attention(prompt, max_log_probability)
    assert found.weights.shape == weights.shape
    torch.testing.assert_close(found.weights, weights, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.gradients, gradients, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.logits, logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(vlm.attention(prompt).weights, found.weights)


@pytest.mark.parametrize("target", [None, max_log_probability], ids=["weights", "gradients"])
def test_no_matrix_of_all_positions_is_computed(asked, target):
    """Before, each layer kept heads x length x length weights."""
    vlm, prompt = asked
    with Shapes() as seen:
        vlm.attention(prompt, target)

    quadratic = {shape for shape in seen.shapes if shape[-2:] == (prompt.length, prompt.length)}
    assert not quadratic
