"""What differs between model families: the contract of an adapter."""

from typing import Any

from torch import Tensor

from entropy_grounding.core.geometry import View

NEUTRAL_QUESTION = "Write a general description of the image."  # ViCrop's (arXiv 2502.17422)


class Family:
    """What differs between model families; a new one overrides `views`, and the rest only where it must."""

    architecture: str  # the transformers class that it serves
    view_names: tuple[str, ...] = ("image",)  # of what `views` may return

    def content(self, question: str, images: int) -> list[dict[str, str]]:
        """Return the user turn for the chat template: images first, the question last."""
        return [*({"type": "image"} for _ in range(images)), {"type": "text", "text": question}]

    def prepare(self, config: Any, processor: Any) -> None:
        """Refuse a configuration or a processor that the family cannot serve."""

    def views(
        self, config: Any, processor: Any, inputs: dict[str, Tensor], size: tuple[int, int]
    ) -> dict[str, View]:
        """Return the token grids of a picture, the one to ground on by default first.

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
        """Return the side, in pixels, of the square that the vision tower sees at once; ViCrop's smallest window."""
        return int(config.vision_config.image_size)

    def positions(self, model: Any, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return the positions of a prompt where the model cannot derive those of its later part alone, and let it go on from its end."""
        return None

    def pack(self, tokens: list[Tensor]) -> Any:
        """Return the visual tokens of all pictures, each ``(tokens, dim)``, in the structure that the model's merge expects."""
        return tokens
