"""A VLM that computes nothing twice: variants of a method ask much the same of one image."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from PIL import Image

from entropy_grounding.core.geometry import Box
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import Forward, Picture, Prompt, Target, TokenGradients

T = TypeVar("T")


class RememberingVLM(VLM):
    """The same model, which returns what it returned before to the same question about the same pixels, until `forget`.

    Results are equal to those of the VLM itself; wall times mean nothing. Passes of one prompt that keep keys and values are remembered,
    with their gradients by target, and encoded pictures and answers.
    """

    def __init__(self, vlm: VLM) -> None:
        self.__dict__.update(vlm.__dict__)
        self._known: dict[Hashable, Any] = {}

    def forget(self) -> None:
        """Begin anew, for another image."""
        self._known.clear()

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def look(self, image: Image.Image, box: Box | None = None) -> Picture:
        """Encode the image or a crop, as `VLM.look`."""
        budget = (
            str(self.processor.image_processor.size),
            getattr(self.processor.image_processor, "max_patches", None),
        )
        return self._once(
            ("look", image.size, hash(image.tobytes()), box, budget),
            lambda: super(RememberingVLM, self).look(image, box),
        )

    def forward(
        self,
        prompts: Sequence[Prompt],
        *,
        graph: bool = True,
        keep: bool = False,
        after: Forward | None = None,
        **rare: Any,
    ) -> Forward:
        """Run prompts, as `VLM.forward`; a remembered pass has no graph any more, which `backward` makes up for."""
        run = super().forward
        if not keep or rare or len(prompts) > 1:
            return run(prompts, graph=graph, keep=keep, after=after, **rare)
        key = ("pass", _key(prompts[0]), after is not None)
        self._known[("after", _key(prompts[0]))] = after
        return self._once(key, lambda: run(prompts, graph=graph, keep=True, after=after))

    def backward(self, begun: Forward, target: Target) -> list[TokenGradients]:
        """Return gradients, as `VLM.backward`; where another target has used the graph up, the prompt runs once more."""
        if len(begun.prompts) > 1 or ("after", _key(begun.prompts[0])) not in self._known:
            return super().backward(begun, target)
        prompt, behind = _key(begun.prompts[0]), begun.start > 0
        found = self._known.get(("gradient", prompt, behind, target))
        if found is None:
            if not begun.logits.requires_grad:
                begun = super().forward(
                    begun.prompts,
                    keep=True,
                    after=self._known[("after", prompt)] if behind else None,
                )
            found = self._known[("gradient", prompt, behind, target)] = super().backward(
                begun, target
            )
            self._known[("pass", prompt, behind)] = begun.detached()
        return found

    def generate(self, prompt: Prompt, *, max_new_tokens: int, after: Forward | None = None) -> str:
        """Return the greedy answer, as `VLM.generate`."""
        run = super().generate
        return self._once(
            ("answer", _key(prompt), max_new_tokens),
            lambda: run(prompt, max_new_tokens=max_new_tokens, after=after),
        )


def _key(prompt: Prompt) -> tuple[str, tuple[int, ...]]:
    """Return what tells prompts about remembered pictures apart: their tokens are the same objects as long as they are remembered."""
    return prompt.text, tuple(id(features) for features in prompt.features)
