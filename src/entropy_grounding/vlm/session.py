"""One image under one VLM: what was encoded, what was run, and the answers."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from entropy_grounding.core.errors import ContextError, InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.images import check_image, to_rgb
from entropy_grounding.core.records import Grounding, Uncertainty, ZoomStep
from entropy_grounding.method.attribution import SIGNALS, Reading, from_forward
from entropy_grounding.method.gate import OFF, accepts, uncertainty
from entropy_grounding.method.options import OF_THE_VLM, GroundingOptions
from entropy_grounding.method.target import TARGETS
from entropy_grounding.vlm.contexts import pixels_scaled
from entropy_grounding.vlm.ledger import Ledger
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import Forward, Picture, PixelGradient, Prompt

MAX_NEW_TOKENS = 16  # a short answer; benchmarks have limits of their own


class Session:
    """One image under one VLM: every picture is encoded once, and what is spent is counted.

    Args:
        vlm: the model.
        image: the original image, in any Pillow mode.
        choices: (letter, text) pairs; where given, an answer is the letter of the most likely text, and nothing is generated.
        cut_from: what crops are cut from; the image itself by default.
        reuse: keep keys and values of every prompt, so that each runs through the language model once, and the full image in none again.
        crop_scale: budget of a crop, see `GroundingOptions`.
        max_new_tokens: length limit of the answers.

    Raises:
        InputError: for an image that cannot be used.
    """

    def __init__(
        self,
        vlm: VLM,
        image: Image.Image,
        choices: Sequence[tuple[str, str]] = (),
        *,
        cut_from: Image.Image | None = None,
        reuse: bool = True,
        crop_scale: float = 1.0,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}: use at least 1.")
        check_image(image)
        self.vlm, self.image, self.choices = vlm, to_rgb(image), choices
        self.cut_from = cut_from or self.image
        self.reuse, self.crop_scale, self.max_new_tokens = reuse, crop_scale, max_new_tokens
        self._crops: dict[Box, Picture] = {}
        self._passes: dict[tuple[str, tuple[Box, ...]], Forward] = {}
        self._recorded: set[tuple[str, tuple[Box, ...]]] = (
            set()
        )  # passes that have, or had, a graph
        self._readings: dict[tuple[str, tuple[Box, ...]], Reading] = {}
        self._first: tuple[Prompt, Forward] | None = None  # the first pass of the full image alone
        self.ledger = Ledger()
        with self.ledger.timed("vision_seconds"):
            self.full = vlm.look(self.image)

    def pictures(self, crops: Sequence[Box]) -> list[Picture]:
        """Return the full image followed by these crops of it, cut from the original pixels."""
        if not self.reuse:
            with self.ledger.timed("vision_seconds"):
                return [self.vlm.look(self.image), *(self._look(box) for box in crops)]
        for box in crops:
            if box not in self._crops:
                with self.ledger.timed("vision_seconds"):
                    self._crops[box] = self._look(box)
        return [self.full, *(self._crops[box] for box in crops)]

    def _look(self, box: Box) -> Picture:
        """Encode a crop.

        Raises:
            InputError: for a smaller budget of a family whose pictures have none.
        """
        if self.crop_scale == 1:
            return self.vlm.look(self.cut_from, box)
        with pixels_scaled(self.vlm, self.crop_scale) as possible:
            if not possible:
                raise InputError(
                    f"method.crop_scale is {self.crop_scale}: the pictures of '{self.vlm.name}' have no budget to lower; use 1."
                )
            return self.vlm.look(self.cut_from, box)

    def prompt(self, question: str, crops: Sequence[Box]) -> tuple[Prompt, tuple[Box, ...]]:
        """Return the prompt and the crops in it; where they exceed the context, the lowest-ranked are left out, with a warning.

        Raises:
            ContextError: when not even the full image alone fits.
        """
        kept = tuple(crops)
        while True:
            try:
                prompt = self.vlm.prompt(question, self.pictures(kept))
            except ContextError:
                if not kept:
                    raise
                kept = kept[:-1]
            else:
                if len(kept) < len(crops):
                    warnings.warn(
                        f"{len(crops)} crops do not fit into the context: the first {len(kept)} by rank are used.",
                        stacklevel=2,
                    )
                return prompt, kept

    def cut_crops_from(self, image: Image.Image) -> None:
        """Cut crops from another image from now on; those that were cut before are forgotten."""
        self.cut_from = image
        self._crops.clear()
        self._passes.clear()
        self._readings.clear()

    def read(self, prompt: Prompt, options: GroundingOptions) -> Reading:
        """Return the logits of a prompt and the relevance of its visual tokens, by the signal of the options."""
        if self.reuse and options.differentiates_prompts:
            key = self._key(prompt)
            if key not in self._readings:  # crops may be proposed again
                self._readings[key] = self._differentiate(prompt, options)
            return self._readings[key]
        signal = SIGNALS[options.signal]
        self.ledger.forward(prompt, backwards=signal.backwards)
        if options.answer_token > 1:
            self.ledger.forward(prompt)
        with self.ledger.timed("map_seconds"):
            return signal.read(self.vlm, prompt, options)

    def _differentiate(self, prompt: Prompt, options: GroundingOptions) -> Reading:
        """Return the reading of a prompt by its gradient; behind a kept full image, that keeps its first relevance."""
        begun = self.begin(prompt, graph=True, behind=options.reground == "crops")
        with self.ledger.timed("map_seconds"):
            reading = from_forward(self.vlm, begun, options)
        self.ledger.backward()
        self._passes[self._key(prompt)] = begun.detached()
        if not begun.start:
            return reading
        assert self._first is not None
        first = self._readings[self._key(self._first[0])]
        return Reading(reading.logits, torch.cat([first.relevance, reading.relevance]))

    def begin(self, prompt: Prompt, *, graph: bool = False, behind: bool = True) -> Forward:
        """Return the pass of a prompt with its keys and values; it is run once, again only where a graph is wanted and was not recorded.

        Args:
            prompt: the full image and perhaps crops.
            graph: record what a backward needs.
            behind: where the full image has been through the language model, run only what comes behind it.
        """
        key = self._key(prompt)
        known = self._passes.get(key)
        if known is None or (graph and key not in self._recorded):
            after = self._shared(prompt) if behind else None
            self.ledger.forward(prompt, start=after[1] if after else 0)
            with self.ledger.timed("map_seconds" if graph else "answer_seconds"):
                known = self.vlm.forward(
                    [prompt], graph=graph, keep=True, after=after[0] if after else None
                )
            self._passes[key] = known
            if graph:
                self._recorded.add(key)
            if self._first is None and prompt.boxes == (self.full.box,) and known.cache is not None:
                self._first = (
                    prompt,
                    replace(known, logits=known.logits.detach(), leaf=known.leaf.detach()),
                )  # no graph is held
        return known

    def _shared(self, prompt: Prompt) -> tuple[Forward, int] | None:
        """Return the pass whose keys and values a prompt with crops can go on from, and from which position."""
        if self._first is None or len(prompt.features) == 1:
            return None
        first, known = self._first
        end = self.vlm.first_picture_end(first)
        same = prompt.boxes[0] == first.boxes[0] and first.inputs["input_ids"][:, :end].equal(
            prompt.inputs["input_ids"][:, :end]
        )
        return (known, end) if same else None

    def _key(self, prompt: Prompt) -> tuple[str, tuple[Box, ...]]:
        return prompt.text, prompt.boxes

    def logits(self, prompt: Prompt) -> Tensor:
        """Return the next-token logits ``(vocabulary,)``, without gradient."""
        if self.reuse:
            return self.begin(prompt).logits[0].detach()
        self.ledger.forward(prompt)
        with torch.no_grad(), self.ledger.timed("map_seconds"):
            return self.vlm.logits(prompt)

    def pixel_gradient(self, question: str, picture: Picture, target: str) -> PixelGradient:
        """Return the gradient of a target at the pixels of a picture, alone in the prompt."""
        self.ledger.forward(self.vlm.prompt(question, [picture]), backwards=1)
        with self.ledger.timed("map_seconds"):
            return self.vlm.pixel_gradient(question, picture, TARGETS[target])

    def neutral(self, options: GroundingOptions) -> str | None:
        """Return the question whose map divides, None for no division."""
        return (
            self.vlm.neutral_question
            if options.neutral_question == OF_THE_VLM
            else options.neutral_question
        )

    def answer(self, question: str, crops: Sequence[Box]) -> tuple[str, tuple[Box, ...]]:
        """Return the greedy answer from the full image and these crops, and the crops that fitted into the prompt."""
        prompt, kept = self.prompt(question, crops)
        if self.choices:
            return self._choose(question, prompt, kept), kept
        begun = self.begin(prompt).detached() if self.reuse else None
        if begun is None or begun.cache is None:
            self.ledger.forward(prompt)
        else:  # the answer will be written behind the prompt into its cache
            self._passes[self._key(prompt)] = replace(begun, cache=None)
        with self.ledger.timed("answer_seconds"):
            return self.vlm.generate(prompt, max_new_tokens=self.max_new_tokens, after=begun), kept

    def _choose(self, question: str, prompt: Prompt, crops: Sequence[Box]) -> str:
        """Return the letter of the most likely choice."""
        losses = []
        for _, text in self.choices:
            self.ledger.forward(prompt)
            with self.ledger.timed("answer_seconds"):
                losses.append(self.vlm.answer_loss(question, self.pictures(crops), text))
        return self.choices[int(np.argmin(losses))][0]

    def uncertainty(self, question: str, crops: Sequence[Box]) -> Uncertainty:
        """Return how unsure the model is of the first token of its answer."""
        return uncertainty(self.logits(self.prompt(question, crops)[0]))

    def finish(
        self,
        question: str,
        crops: Sequence[Box],
        options: GroundingOptions,
        reason: str,
        steps: Sequence[ZoomStep] = (),
    ) -> Grounding:
        """Answer from the full image alone and from these crops too, and return the whole course."""
        accept = options.gate.accept != OFF
        known = accept or (
            self.reuse and not self.choices
        )  # otherwise it would take a forward of its own
        before = self.uncertainty(question, ()) if known else None
        after = self.uncertainty(question, crops) if known and crops else before
        plain, _ = self.answer(question, ())
        if accept and crops and before and after and not accepts(before, after, options.gate):
            crops, reason = (), "declined"
        answer, used = self.answer(question, crops) if crops else (plain, ())
        return Grounding(
            question,
            self.image.size,
            tuple(steps),
            used,
            reason,
            plain,
            answer,
            self.ledger.cost(),
            before,
            after,
        )
