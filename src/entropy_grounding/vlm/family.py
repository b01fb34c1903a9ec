"""What differs between model families: the contract of an adapter."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from entropy_grounding.core.geometry import View

NEUTRAL_QUESTION = "Write a general description of the image."  # ViCrop's (arXiv 2502.17422)


class Family:
    """The adapter of a model family; a new one overrides `views`, and the rest only where it must.

    Attributes:
        architecture: name of the transformers class that it serves.
        view_names: names of the token grids that `views` may return.
        image_processors: names of the classes that make its pictures, without "Pil" or "Fast";
            empty for any.
        line_end: what ends the line of a labelled picture; empty where the chat template does.
    """

    architecture: str
    view_names: tuple[str, ...] = ("image",)
    image_processors: tuple[str, ...] = ()
    line_end: str = ""

    def content(self, question: str, images: int) -> list[dict[str, str]]:
        """Return the user turn for the chat template: images first, the question last."""
        pictures = [{"type": "image"} for _ in range(images)]
        return [*pictures, {"type": "text", "text": question}]

    def labelled(self, question: str, images: int) -> list[dict[str, str]]:
        """Return the same turn with a label before each picture, "Image-1: " and so on.

        A label begins a new line.
        """
        end = [{"type": "text", "text": self.line_end}] if self.line_end else []
        pictures = []
        for number in range(1, images + 1):
            pictures += [{"type": "text", "text": f"Image-{number}: "}, {"type": "image"}, *end]
        return [*pictures, {"type": "text", "text": question}]

    def prepare(self, config: Any, processor: Any) -> None:
        """Refuse a configuration or a processor that the family cannot serve."""

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the token grids of a picture, the default one for grounding first.

        Args:
            config: the configuration of the model.
            processor: its processor.
            inputs: what the processor made of this picture alone.
            size: (width, height) of the picture; the boxes of the views are in its pixels.
        """
        raise NotImplementedError

    def picture(
        self,
        config: Any,
        processor: Any,
        inputs: dict[str, Tensor],
        pixels: Tensor,
        size: tuple[int, int],
    ) -> Tensor:
        """Lay pixels out as the first of `views` shows them: ``(channels, height, width)``.

        Args:
            config: the configuration of the model.
            processor: its processor.
            inputs: what the processor made of this picture alone.
            pixels: in the structure of ``inputs["pixel_values"]``.
            size: (width, height) of the picture.
        """
        raise NotImplementedError

    def input_side(self, config: Any, processor: Any) -> int:
        """Return the side, in pixels, of the square that the vision tower sees at once.

        It is ViCrop's smallest window.
        """
        return int(config.vision_config.image_size)

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return the positions of a prompt, None if the model derives them itself.

        They are needed if the model cannot derive those of a later part alone. The model can then
        resume generation from the end of the prompt.
        """
        return None

    def collect(self, encoded: Any) -> Tensor:
        """Return the visual tokens of a picture ``(tokens, dim)`` from the output of the encoder.

        A token is everything of it that enters the language model.
        """
        return joined(encoded.pooler_output)

    def pack(self, config: Any, tokens: list[Tensor]) -> BaseModelOutputWithPooling:
        """Return visual tokens in the structure that the model merges into its text.

        It turns what `collect` returned back into the output of the encoder.

        Args:
            config: the configuration of the model.
            tokens: of each picture ``(tokens, dim)``.
        """
        by_picture: Any = tokens  # the model takes a list, its annotation says a tensor
        return BaseModelOutputWithPooling(pooler_output=by_picture)


def joined(parts: Iterable[Tensor]) -> Tensor:
    """Return the tokens of all tiles, one below the other ``(tokens, dim)``."""
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
