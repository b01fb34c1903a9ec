"""One image under one VLM: pictures are encoded once, prompts run once, and all is counted."""

import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from entropy_grounding.core.errors import ContextError, InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.images import check_image, to_rgb
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.ledger import Ledger
from entropy_grounding.vlm.memory import surplus
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import (
    Answer,
    Pass,
    Picture,
    PixelGradients,
    Pixels,
    Prompt,
    Target,
    TokenGradients,
)

MAX_NEW_TOKENS = 16  # a short answer; benchmarks have limits of their own

T = TypeVar("T")
_Key = tuple[str, tuple[Box, ...]]


class ImageSession:
    """Everything that is computed about one image: its pictures, passes, gradients and answers.

    Args:
        vlm: the model.
        image: the original image, in any Pillow mode.
        choices: (letter, text) pairs. If given, an answer is the letter of the most likely text.
        reuse: keep keys and values of every prompt, so that each prompt runs through the language
            model once, and later prompts resume behind the full image. Without it every prompt is
            encoded and run again.
        crop_scale: pixels or tiles of a crop, relative to the budget of the full image.
        max_new_tokens: length limit of the answers.
        kept_bytes: most bytes of keys and values; the oldest passes drop theirs, and an answer
            that would resume one runs its prompt again. None for a share of the free memory.

    Raises:
        InputError: for an image that cannot be used, or a length limit below 1.
    """

    def __init__(
        self,
        vlm: VLM,
        image: Image.Image,
        choices: Sequence[tuple[str, str]] = (),
        *,
        reuse: bool = True,
        crop_scale: float = 1.0,
        max_new_tokens: int = MAX_NEW_TOKENS,
        kept_bytes: int | None = None,
    ) -> None:
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}: use at least 1.")
        check_image(image)

        self.vlm = vlm
        self.image = to_rgb(image)
        self.choices = choices
        self.reuse = reuse
        self.crop_scale = crop_scale
        self.max_new_tokens = max_new_tokens
        self.kept_bytes = kept_bytes
        self.ledger = Ledger()

        self._cut_from = self.image
        self._crops: dict[Box, Picture] = {}
        self._passes: dict[_Key, Pass] = {}
        self._recorded: set[_Key] = set()  # prompts whose pass has, or had, a graph
        self._results: dict[Hashable, Any] = {}
        self._first: Pass | None = None  # of the full image alone, without its graph
        with self.ledger.timed("vision_seconds"):
            self.full = vlm.encode(self.image)

    # --- Pictures and prompts ---

    def encode(self, crops: Sequence[Box]) -> list[Picture]:
        """Return the encoded full image, followed by these crops of its original pixels."""
        if not self.reuse:
            with self.ledger.timed("vision_seconds"):
                return [self.vlm.encode(self.image), *(self._encode(box) for box in crops)]

        for box in crops:
            if box not in self._crops:
                with self.ledger.timed("vision_seconds"):
                    self._crops[box] = self._encode(box)
        return [self.full, *(self._crops[box] for box in crops)]

    def _encode(self, box: Box) -> Picture:
        """Encode a crop under its budget.

        Raises:
            InputError: for a smaller budget of a family whose pictures have none.
        """
        if self.crop_scale == 1:
            return self.vlm.encode(self._cut_from, box)

        with pixels_scaled(self.vlm.processor, self.crop_scale) as possible:
            if not possible:
                raise InputError(
                    f"method.crop_scale is {self.crop_scale}: "
                    f"the pictures of '{self.vlm.name}' have no budget to lower; use 1."
                )
            return self.vlm.encode(self._cut_from, box)

    def cut_crops_from(self, image: Image.Image) -> None:
        """Cut crops from another image from now on, and forget those that were cut before."""
        self._cut_from = image
        self._crops.clear()
        self._passes.clear()
        self._results.clear()

    def prompt(self, question: str, crops: Sequence[Box]) -> Prompt:
        """Return the prompt of the full image and crops.

        If they exceed the context of the model, the lowest-ranked crops are left out, with a
        warning.

        Raises:
            ContextError: when not even the full image alone fits.
        """
        kept = tuple(crops)
        while True:
            try:
                prompt = self.vlm.prompt(question, self.encode(kept))
            except ContextError:
                if not kept:
                    raise
                kept = kept[:-1]
                continue

            if len(kept) < len(crops):
                warnings.warn(
                    f"{len(crops)} crops do not fit into the context: "
                    f"the first {len(kept)} by rank are used.",
                    stacklevel=2,
                )
            return replace(prompt, crops=kept)

    # --- Passes ---

    def run(self, prompt: Prompt, *, differentiable: bool = False, resume: bool = True) -> Pass:
        """Run a prompt, or return its cached pass.

        A cached pass that was run without a graph is run again if ``differentiable`` is true.

        Args:
            prompt: from `prompt`.
            differentiable: record the graph that `gradient` needs.
            resume: run only the part behind the full image, if that has been through the language
                model.
        """
        if not self.reuse:
            self.ledger.forward(prompt)
            with self.ledger.timed("map_seconds"):
                return self.vlm.run([prompt], graph=False)

        key = _key(prompt)
        known = self._passes.get(key)
        if known is not None and (key in self._recorded or not differentiable):
            return known

        earlier = self._earlier_pass(prompt) if resume else None
        start = self.vlm.first_picture_end(prompt) if earlier else 0
        self.ledger.forward(prompt, start=start)
        with self.ledger.timed("map_seconds" if differentiable else "answer_seconds"):
            if earlier:
                done = self.vlm.continue_from(earlier, prompt, graph=differentiable)
            else:
                done = self.vlm.run([prompt], graph=differentiable, keep=True)

        self._passes[key] = done
        if differentiable:
            self._recorded.add(key)
        self._keep_first(done)
        self._drop_oldest()
        return done

    def _keep_first(self, done: Pass) -> None:
        """Keep the first pass of the full image alone, without its graph, for later prompts."""
        alone = done.prompts[0].boxes == (self.full.box,)
        if self._first is None and alone and done.cache is not None:
            self._first = replace(done, logits=done.logits.detach(), leaf=done.leaf.detach())

    def _drop_oldest(self) -> None:
        """Drop the keys and values of the oldest passes, if all take too much memory.

        Those of the full image alone stay, because later prompts resume behind them.
        """
        first = self._first.cache if self._first else None
        passes = {key: done for key, done in self._passes.items() if done.cache is not first}
        for key in surplus(passes, self.vlm.model.device, self.kept_bytes):
            self._passes[key] = replace(passes[key], cache=None)

    def _earlier_pass(self, prompt: Prompt) -> Pass | None:
        """Return the pass of the full image that a prompt with crops can resume from."""
        if self._first is None or len(prompt.features) == 1:
            return None

        first = self._first.prompts[0]
        end = self.vlm.first_picture_end(first)
        same_text = first.inputs["input_ids"][:, :end].equal(prompt.inputs["input_ids"][:, :end])
        return self._first if same_text and prompt.boxes[0] == first.boxes[0] else None

    @property
    def first_prompt(self) -> Prompt:
        """The prompt of the full image alone that later passes resume behind."""
        assert self._first is not None
        return self._first.prompts[0]

    def gradient(self, done: Pass, target: Target) -> TokenGradients:
        """Return the gradient of a target at the visual tokens of a pass; its graph is freed."""
        self.ledger.backward()
        if done.checkpointed:
            self.ledger.checkpointed()
        with self.ledger.timed("map_seconds"):
            (gradients,) = self.vlm.backward(done, target)

        self._passes[_key(done.prompts[0])] = done.detached()
        return gradients

    def pixel_gradients(self, prompt: Prompt, target: Target) -> PixelGradients:
        """Return the gradient of a target at the pixels of every picture of a prompt."""
        self.ledger.forward(prompt, backwards=1)
        with self.ledger.timed("map_seconds"):
            return self.vlm.pixel_gradients(prompt, target)

    def pixels(self, prompt: Prompt) -> tuple[Pixels, ...]:
        """Return the pixels that the model reads of every picture of a prompt."""
        with self.ledger.timed("vision_seconds"):
            return self.vlm.pixels(prompt)

    def once(self, name: Hashable, prompt: Prompt, compute: Callable[[], T]) -> T:
        """Return what was computed under a name for a prompt, or compute it now.

        Crops may be proposed again in a later round.
        """
        key = (name, _key(prompt))
        if key not in self._results:
            self._results[key] = compute()
        return self._results[key]

    # --- Answers ---

    def answer(self, question: str, crops: Sequence[Box]) -> tuple[Answer, tuple[Box, ...]]:
        """Return the greedy answer from the full image and crops, and the crops that fitted."""
        prompt = self.prompt(question, crops)
        if self.choices:
            return self._choose(question, prompt), prompt.crops

        done = self.run(prompt).detached() if self.reuse else None
        if done is None or done.cache is None:
            self.ledger.forward(prompt)
        else:  # the answer is written behind the prompt, into its cache
            self._passes[_key(prompt)] = replace(done, cache=None)

        with self.ledger.timed("answer_seconds"):
            answer = self.vlm.generate(prompt, max_new_tokens=self.max_new_tokens, after=done)
        return answer, prompt.crops

    def _choose(self, question: str, prompt: Prompt) -> Answer:
        """Return the letter of the choice whose text has the smallest cross-entropy."""
        losses = []
        for _, text in self.choices:
            self.ledger.forward(prompt)
            with self.ledger.timed("answer_seconds"):
                losses.append(self.vlm.answer_loss(question, self.encode(prompt.crops), text))

        return Answer(self.choices[int(np.argmin(losses))][0])


def _key(prompt: Prompt) -> _Key:
    return prompt.text, prompt.boxes
