"""A VLM that computes nothing twice: variants of a method ask much the same of one image."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from PIL import Image

from entropy_grounding.core.geometry import Box
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import Pass, Picture, Prompt, Target, TokenGradients

T = TypeVar("T")


class CachedVLM(VLM):
    """The same model, with a cache of its results until `forget`.

    The same question about the same pixels gets the cached result. Results equal those of the VLM
    itself; wall times mean nothing. Encoded pictures and answers are cached, passes of one prompt
    that keep keys and values, and their gradients by target.
    """

    def __init__(self, vlm: VLM) -> None:
        self.__dict__.update(vlm.__dict__)
        self._cached: dict[Hashable, Any] = {}

    def forget(self) -> None:
        """Empty the cache, before another image."""
        self._cached.clear()

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        if key not in self._cached:
            self._cached[key] = compute()
        return self._cached[key]

    def encode(self, image: Image.Image, box: Box | None = None) -> Picture:
        """Encode the image or a crop, as `VLM.encode`."""
        images = self.processor.image_processor
        budget = (str(images.size), getattr(images, "max_patches", None))
        encode = super().encode

        key = ("picture", image.size, hash(image.tobytes()), box, budget)
        return self._once(key, lambda: encode(image, box))

    def run(
        self,
        prompts: Sequence[Prompt],
        *,
        graph: bool = True,
        keep: bool = False,
        every_position: bool = False,
    ) -> Pass:
        """Run prompts, as `VLM.run`; `backward` runs a pass again whose graph was freed."""
        run = super().run
        if not keep or every_position or len(prompts) > 1:
            return run(prompts, graph=graph, keep=keep, every_position=every_position)

        key = ("pass", _key(prompts[0]), False)
        return self._once(key, lambda: run(prompts, graph=graph, keep=True))

    def continue_from(self, earlier: Pass, prompt: Prompt, *, graph: bool = True) -> Pass:
        """Run a prompt behind its first picture, as `VLM.continue_from`."""
        resume = super().continue_from
        self._cached[("earlier", _key(prompt))] = earlier

        key = ("pass", _key(prompt), True)
        return self._once(key, lambda: resume(earlier, prompt, graph=graph))

    def backward(self, run: Pass, target: Target) -> list[TokenGradients]:
        """Return gradients, as `VLM.backward`; a prompt whose graph was freed is run again."""
        prompt, resumed = _key(run.prompts[0]), run.start > 0
        if len(run.prompts) > 1 or ("pass", prompt, resumed) not in self._cached:
            return super().backward(run, target)

        gradients = self._cached.get(("gradient", prompt, resumed, target))
        if gradients is None:
            if not run.logits.requires_grad:
                run = self._again(run)
            gradients = super().backward(run, target)
            self._cached[("gradient", prompt, resumed, target)] = gradients
            self._cached[("pass", prompt, resumed)] = run.detached()
        return gradients

    def _again(self, run: Pass) -> Pass:
        """Run the prompt of a pass again, with a graph."""
        (prompt,) = run.prompts
        if run.start > 0:
            return super().continue_from(self._cached[("earlier", _key(prompt))], prompt)
        return super().run([prompt], keep=True)

    def generate(self, prompt: Prompt, *, max_new_tokens: int, after: Pass | None = None) -> str:
        """Return the greedy answer, as `VLM.generate`."""
        generate = super().generate
        key = ("answer", _key(prompt), max_new_tokens)
        return self._once(key, lambda: generate(prompt, max_new_tokens=max_new_tokens, after=after))


def _key(prompt: Prompt) -> tuple[str, tuple[int, ...]]:
    """Return what tells prompts about cached pictures apart.

    Their visual tokens are the same objects for as long as they are cached.
    """
    return prompt.text, tuple(id(features) for features in prompt.features)
