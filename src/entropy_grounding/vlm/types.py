"""Pictures, prompts and passes of a VLM: the tensors that travel between its functions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from entropy_grounding.core.geometry import Box, View

Target = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image or crop.

    Attributes:
        image: its pixels, RGB.
        box: what it shows, in pixels of the original image.
        features: its visual tokens ``(tokens, dim)``, without gradient.
        views: its token grids, with indices into ``features`` and boxes in pixels of the original image.
        tokens: what stands for it in a prompt, the ids that the processor puts in place of one placeholder.
        shape: other tensors of the processor that the model needs, such as the size before tiling.
    """

    image: Image.Image
    box: Box
    features: Tensor
    views: tuple[View, ...]
    tokens: Tensor
    shape: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question with its pictures, ready for the model.

    Attributes:
        text: the chat-formatted prompt.
        inputs: the processor's tensors without the pixels.
        features: visual tokens of every picture, each ``(tokens, dim)``.
        views: token grids of all pictures, with indices into their concatenation.
        boxes: what the pictures show, in pixels of the original image.
    """

    text: str
    inputs: dict[str, Tensor]
    features: tuple[Tensor, ...]
    views: tuple[View, ...]
    boxes: tuple[Box, ...] = ()

    @property
    def visual_tokens(self) -> int:
        """Number of visual tokens."""
        return sum(len(features) for features in self.features)

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.inputs["input_ids"].shape[1]


@dataclass(frozen=True, slots=True)
class Forward:
    """A forward pass that can be gone on with.

    Attributes:
        logits: of the next token of every prompt ``(prompts, vocabulary)``; with a graph to ``leaf`` where gradients are wanted.
        leaf: what a gradient is taken at ``(tokens, dim)``: the visual tokens of all prompts, or those behind ``start``.
        prompts: what was run.
        cache: keys and values of all positions of the one prompt, None where they were not kept.
        start: the position that the pass began at; what lies before came from another cache and gets no gradient.
    """

    logits: Tensor
    leaf: Tensor
    prompts: tuple[Prompt, ...]
    cache: Any = None
    start: int = 0

    def by_prompt(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Split something of every token of the leaf ``(tokens, ...)`` by prompt."""
        return (
            (tokens,)
            if len(self.prompts) == 1
            else tokens.split([prompt.visual_tokens for prompt in self.prompts])
        )

    def detached(self) -> "Forward":
        """Return the same without its graph, which frees the activations; the cache is detached in place."""
        for layer in self.cache.layers if self.cache else ():
            layer.keys, layer.values = layer.keys.detach(), layer.values.detach()
        return replace(self, logits=self.logits.detach(), leaf=self.leaf.detach())


@dataclass(frozen=True, slots=True)
class TokenGradients:
    """Next-token ``logits`` ``(vocabulary,)``; ``gradients`` of a target at the visual tokens, and ``embeddings`` ``(tokens, dim)``."""

    logits: Tensor
    gradients: Tensor
    embeddings: Tensor


@dataclass(frozen=True, slots=True)
class TokenAttention:
    """Next-token ``logits`` ``(vocabulary,)``; attention ``weights`` from the last position to every visual token.

    Weights are ``(layers, heads, tokens)``; ``gradients`` of a target with respect to them the same, None without a target.
    """

    logits: Tensor
    weights: Tensor
    gradients: Tensor | None


@dataclass(frozen=True, slots=True)
class PixelGradient:
    """Next-token ``logits``; ``gradient`` of a target at the pixels of the model's input, and these ``pixels``, as the ``view`` shows them.

    Both are ``(channels, height, width)``; every cell of the view covers the same number of pixels.
    """

    logits: Tensor
    gradient: Tensor
    pixels: Tensor
    view: View
