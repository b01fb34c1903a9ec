"""Pictures, prompts and passes of a VLM: the tensors that travel between its functions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from entropy_grounding.core.geometry import Box, View

# From next-token logits ``(..., vocabulary)`` to the scalar that is differentiated ``(...)``.
Target = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image or crop.

    Attributes:
        image: its pixels, RGB.
        box: the part of the original image that it shows, in pixels.
        features: its visual tokens ``(tokens, dim)``, without gradient.
        views: its token grids, with indices into ``features`` and boxes in pixels of the original
            image.
        tokens: the ids that stand for it in a prompt, in place of one placeholder ``(positions,)``.
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
        text: the prompt in the chat format of the model.
        inputs: the tensors of the processor, without the pixels.
        features: the visual tokens of every picture, each ``(tokens, dim)``.
        views: the token grids of all pictures, with indices into their concatenation.
        boxes: the parts of the original image that the pictures show, in pixels.
        crops: the crops that were asked for and are in the prompt, before they were widened to
            whole pixels.
        pictures: the encoded pictures themselves, in their order.
    """

    text: str
    inputs: dict[str, Tensor]
    features: tuple[Tensor, ...]
    views: tuple[View, ...]
    boxes: tuple[Box, ...] = ()
    crops: tuple[Box, ...] = ()
    pictures: tuple[Picture, ...] = ()

    @property
    def visual_tokens(self) -> int:
        """Number of visual tokens."""
        return sum(len(features) for features in self.features)

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.inputs["input_ids"].shape[1]


@dataclass(frozen=True, slots=True)
class Pass:
    """A forward pass that `VLM.backward` can differentiate and `VLM.generate` can resume.

    Attributes:
        logits: next-token logits of every prompt ``(prompts, vocabulary)``, with a graph to
            ``leaf`` if one was recorded.
        leaf: the tensor that the gradient is taken at ``(tokens, dim)``: the visual tokens of all
            prompts, or those behind ``start``.
        prompts: the prompts that were run.
        cache: keys and values of all positions of the one prompt, None if they were not kept.
        start: the position at which the pass began. Earlier positions came from another cache and
            get no gradient.
        checkpointed: its layers run again in the backward pass.
    """

    logits: Tensor
    leaf: Tensor
    prompts: tuple[Prompt, ...]
    cache: Any = None
    start: int = 0
    checkpointed: bool = False

    def by_prompt(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Split a tensor ``(tokens, ...)`` over the tokens of the leaf into one part per prompt."""
        if len(self.prompts) == 1:
            return (tokens,)

        return tokens.split([prompt.visual_tokens for prompt in self.prompts])

    def detached(self) -> "Pass":
        """Return the same pass without its graph, which frees the activations.

        The cache is detached in place.
        """
        for layer in self.cache.layers if self.cache else ():
            layer.keys = layer.keys.detach()
            layer.values = layer.values.detach()

        return replace(self, logits=self.logits.detach(), leaf=self.leaf.detach())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a VLM answers.

    Attributes:
        text: the answer, without special tokens.
        cut_off: whether the length limit ended it, not the model.
    """

    text: str
    cut_off: bool = False


@dataclass(frozen=True, slots=True)
class TokenGradients:
    """Gradients of a target at the visual tokens of one prompt.

    Attributes:
        logits: next-token logits ``(vocabulary,)``.
        gradients: of the target ``(tokens, dim)``.
        embeddings: the visual tokens themselves ``(tokens, dim)``.
    """

    logits: Tensor
    gradients: Tensor
    embeddings: Tensor


@dataclass(frozen=True, slots=True)
class TokenAttention:
    """Attention from the last position to every visual token of one prompt.

    Attributes:
        logits: next-token logits ``(vocabulary,)``.
        weights: attention weights ``(layers, heads, tokens)``.
        gradients: of a target with respect to the weights, in their shape; None without a target.
    """

    logits: Tensor
    weights: Tensor
    gradients: Tensor | None


@dataclass(frozen=True, slots=True)
class Pixels:
    """The pixels that the model reads of a picture of a prompt, under a token grid.

    Attributes:
        pixels: laid out as ``view`` shows them ``(channels, height, width)``.
        view: the first token grid of the picture, with indices into the visual tokens of the
            prompt; every cell of it covers the same number of pixels.
    """

    pixels: Tensor
    view: View


@dataclass(frozen=True, slots=True)
class PixelGradients:
    """Gradients of a target at the pixels of one prompt.

    Attributes:
        logits: next-token logits ``(vocabulary,)``.
        pictures: the pixels of every picture.
        gradients: of the target, for every picture in the layout of its pixels ``(channels, height,
            width)``.
    """

    logits: Tensor
    pictures: tuple[Pixels, ...]
    gradients: tuple[Tensor, ...]
