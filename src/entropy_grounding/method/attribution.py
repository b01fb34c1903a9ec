"""Signals: what a round's token relevance is made of. The paper's is the gradient of a target; the others keep the loop around it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from entropy_grounding.core.errors import InputError
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import elbow_threshold
from entropy_grounding.method.relevance import RELEVANCES
from entropy_grounding.method.stopping import spatial_entropy
from entropy_grounding.method.target import TARGETS, max_log_probability
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import Forward, Prompt

LOCALIZATION_HEADS = 3  # heads whose maps are added


@dataclass(frozen=True, slots=True)
class Reading:
    """Next-token ``logits`` ``(vocabulary,)`` of a prompt, and the ``relevance`` of each of its visual tokens ``(tokens,)``."""

    logits: Tensor
    relevance: Tensor


@dataclass(frozen=True, slots=True)
class Signal:
    """How to read a prompt, and how many backward passes that takes besides one forward."""

    read: "Callable[[VLM, Prompt, GroundingOptions], Reading]"
    backwards: int


def gradient(vlm: VLM, prompt: Prompt, options: "GroundingOptions") -> Reading:
    """Gradient of ``options.target`` at the visual tokens; ``options.relevance`` makes one number of each (paper, steps 2-3).

    With ``options.gradient_layer`` the gradient is taken at the inputs of that decoder layer at the same positions. With
    ``options.answer_token`` the target sees the logits of that token of the greedy answer, with ``options.decoder_layers`` those that
    the language model has after so many layers.
    """
    prompt = vlm.continued(prompt, options.answer_token - 1)
    with vlm.first_layers(options.decoder_layers):
        return from_forward(
            vlm,
            vlm.forward(
                [prompt], layer=options.gradient_layer, every_position=options.reuse == "off"
            ),
            options,
        )


def from_forward(vlm: VLM, begun: Forward, options: "GroundingOptions") -> Reading:
    """Return the reading of a forward pass of one prompt, by the gradient of ``options.target``."""
    (found,) = vlm.backward(begun, TARGETS[options.target])
    return Reading(found.logits, RELEVANCES[options.relevance](found.gradients, found.embeddings))


def attention(vlm: VLM, prompt: Prompt, options: "GroundingOptions") -> Reading:
    """Attention from the last position to the visual tokens, mean over heads; relative attention with ``options.neutral_question``.

    Source: "rel-att" of ViCrop (arXiv 2502.17422).
    """
    found = vlm.attention(prompt)
    return Reading(found.logits, of_layers(found.weights.mean(1), vlm, options))


def gradient_attention(vlm: VLM, prompt: Prompt, options: "GroundingOptions") -> Reading:
    """Attention x ReLU(d log p(t*) / d attention), mean over heads, t* the most likely token ("grad-att" of ViCrop, arXiv 2502.17422)."""
    found = vlm.attention(prompt, max_log_probability)
    assert found.gradients is not None
    return Reading(
        found.logits, of_layers((found.weights * found.gradients.relu()).mean(1), vlm, options)
    )


def localization_heads(vlm: VLM, prompt: Prompt, options: "GroundingOptions") -> Reading:
    """Sum of the attention of the few heads that look at the image most, and at one place of it (arXiv 2503.06287).

    Heads are chosen for each question: of those whose attention to the full image reaches the elbow of all heads, the three of lowest
    spatial entropy. Their paper fixes three heads a model after 1,000 examples.
    """
    found = vlm.attention(prompt)
    heads = found.weights.flatten(0, 1)
    grids = heads.double().cpu().numpy()[:, prompt.views[0].token_indices]
    looked = grids.sum((1, 2))
    looking = np.flatnonzero(looked >= elbow_threshold(looked))
    scattered = [
        (spatial_entropy(grids[head], 0.0, offset=options.stopping.offset), -looked[head], head)
        for head in looking
    ]
    chosen = [int(head) for *_, head in sorted(scattered)[:LOCALIZATION_HEADS]]
    return Reading(found.logits, heads[chosen].sum(0))


def of_layers(
    relevance: Float[Tensor, "layers tokens"], vlm: VLM, options: "GroundingOptions"
) -> Float[Tensor, " tokens"]:
    """Return the relevance of the layer that the VLM's configuration chooses, or the mean over layers.

    Raises:
        InputError: when a chosen layer is asked for and the configuration names none, or one that the model does not have.
    """
    if options.layers == "mean":
        return relevance.mean(0)
    layer = vlm.attention_layer
    if layer is None or not 0 <= layer < len(relevance):
        raise InputError(
            f"vlm.attention_layer is {layer}: method.layers=chosen needs one from 0 to {len(relevance) - 1}, or use method.layers=mean."
        )
    return relevance[layer]


SIGNALS: dict[str, Signal] = {
    "gradient": Signal(gradient, 1),
    "attention": Signal(attention, 0),
    "gradient_attention": Signal(gradient_attention, 1),
    "localization_heads": Signal(localization_heads, 0),
}
