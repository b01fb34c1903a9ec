"""A VLM that computes nothing twice: variants of a method ask much the same of one image."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from PIL import Image

from entropy_grounding.core.geometry import Box
from entropy_grounding.vlm.memory import surplus
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import (
    Answer,
    Pass,
    Picture,
    PixelGradients,
    Prompt,
    Target,
    TokenAttention,
    TokenGradients,
)

T = TypeVar("T")


class CachedVLM(VLM):
    """The same model, with a cache of its results until `forget`.

    The same question about the same pixels gets the cached result. Results equal those of the VLM
    itself; wall times mean nothing. Encoded pictures and answers are cached, passes of one prompt
    that keep keys and values, their gradients by target, attention, and gradients at pixels.

    Args:
        vlm: the model.
        kept_bytes: most bytes of keys and values. The passes that were used longest ago drop
            theirs, and are run again where they are asked for. None for a share of the free memory.
    """

    def __init__(self, vlm: VLM, kept_bytes: int | None = None) -> None:
        self.__dict__.update(vlm.__dict__)
        self.kept_bytes = kept_bytes
        self._cached: dict[Hashable, Any] = {}
        self._passes: dict[Hashable, Pass] = {}  # the one that was used last stands last
        self._dropped: set[Hashable] = set()  # passes that have lost their keys and values

    def forget(self) -> None:
        """Empty the cache, before another image."""
        for kept in (self._cached, self._passes, self._dropped):
            kept.clear()

    def _once(self, key: Hashable, compute: Callable[[], T]) -> T:
        if key not in self._cached:
            self._cached[key] = compute()
        return self._cached[key]

    def _pass(self, key: Hashable, compute: Callable[[], Pass]) -> Pass:
        """Return a cached pass with its keys and values, or compute it now."""
        known = self._passes.pop(key, None)
        if known is None or key in self._dropped:
            known = compute()

        self._store(key, known)
        return known

    def _store(self, key: Hashable, done: Pass) -> None:
        """Cache a pass, and drop the keys and values of others if all take too much memory."""
        self._passes[key] = done
        self._dropped.discard(key)

        for oldest in surplus(self._passes, self.model.device, self.kept_bytes):
            self._passes[oldest] = replace(self._passes[oldest], cache=None)
            self._dropped.add(oldest)

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

        key = (_key(prompts[0]), False)
        return self._pass(key, lambda: run(prompts, graph=graph, keep=True))

    def continue_from(self, earlier: Pass, prompt: Prompt, *, graph: bool = True) -> Pass:
        """Run a prompt behind its first picture, as `VLM.continue_from`."""
        resume = super().continue_from
        self._cached[("earlier", _key(prompt))] = earlier.prompts[0]

        key = (_key(prompt), True)
        return self._pass(key, lambda: resume(earlier, prompt, graph=graph))

    def backward(self, run: Pass, target: Target) -> list[TokenGradients]:
        """Return gradients, as `VLM.backward`; a prompt whose graph was freed is run again."""
        key = (_key(run.prompts[0]), run.start > 0)
        if len(run.prompts) > 1 or key not in self._passes:
            return super().backward(run, target)

        gradients = self._cached.get(("gradient", *key, target))
        if gradients is None:
            if not run.logits.requires_grad:
                run = self._again(run)
            gradients = super().backward(run, target)
            self._cached[("gradient", *key, target)] = gradients
            self._store(key, run.detached())
        return gradients

    def _again(self, run: Pass) -> Pass:
        """Run the prompt of a pass again, with a graph."""
        (prompt,) = run.prompts
        if run.start > 0:
            earlier = self.run([self._cached[("earlier", _key(prompt))]], graph=False, keep=True)
            return super().continue_from(earlier, prompt)
        return super().run([prompt], keep=True)

    def attention(self, prompt: Prompt, target: Target | None = None) -> TokenAttention:
        """Return attention weights, as `VLM.attention`."""
        attention = super().attention
        key = ("attention", _key(prompt), target)
        return self._once(key, lambda: attention(prompt, target))

    def pixel_gradients(self, prompt: Prompt, target: Target) -> PixelGradients:
        """Return gradients at pixels, as `VLM.pixel_gradients`."""
        pixel_gradients = super().pixel_gradients
        key = ("pixels", _key(prompt), target)
        return self._once(key, lambda: pixel_gradients(prompt, target))

    def generate(self, prompt: Prompt, *, max_new_tokens: int, after: Pass | None = None) -> Answer:
        """Return the greedy answer, as `VLM.generate`."""
        generate = super().generate
        key = ("answer", _key(prompt), max_new_tokens)
        return self._once(key, lambda: generate(prompt, max_new_tokens=max_new_tokens, after=after))


def _key(prompt: Prompt) -> tuple[str, tuple[int, ...]]:
    """Return what tells prompts about cached pictures apart.

    Their visual tokens are the same objects for as long as they are cached.
    """
    return prompt.text, tuple(id(features) for features in prompt.features)
