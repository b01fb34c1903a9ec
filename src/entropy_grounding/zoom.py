"""The loop of the paper: ground, crop, re-ground, until the stopping rule says so; then answer."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from entropy_grounding import gate
from entropy_grounding.errors import ContextError, InputError
from entropy_grounding.gate import OFF, GateOptions
from entropy_grounding.images import check_image, to_rgb
from entropy_grounding.regions import SCORES, RegionOptions, propose_regions, threshold_value
from entropy_grounding.relevance import RELEVANCES, relative_relevance, relevance_maps
from entropy_grounding.signals import SIGNALS, Reading, from_forward
from entropy_grounding.stopping import RULES, Decision, StoppingOptions, decide, map_spatial_entropy
from entropy_grounding.structures import Box, Cost, Grounding, Region, RelevanceMap, Uncertainty, View, ZoomStep
from entropy_grounding.target import TARGETS, log_probabilities, next_token_entropy
from entropy_grounding.vlm.base import VLM, Forward, Picture, PixelGradient, Prompt, frozen, pixels_scaled

# Where crops come from; "found" is the paper's loop, the others are in `baselines` (`baselines.METHODS` has one function each).
CROPS = (
    "found",
    "window",
    "search",
    "nested",
    "random",
    "center",
    "lowest",
    "repeated",
    "blank",
    "oracle",
    "oracle_budget",
    "upscaled",
)
OF_THE_VLM = "vlm"  # as a neutral question: the one of the VLM's configuration


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """Choices of ViCrop (arXiv 2502.17422), for ``crops="window"``.

    Attributes:
        side: pixels of the original image, of the smallest window; None takes the side of the VLM's input.
        high_res: compute the map on tiles of the image, each shown alone.
        tile: pixels, a picture is cut into as many rows as tiles of this height fit into it, rounded up; None is 1,024 for an input of 336
            pixels and in proportion for others.
        median: cells of the median filter on the high-pass picture of pixel gradients; 7 in the released code, 3 in the paper.
    """

    side: int | None = None
    high_res: bool = False
    tile: int | None = None
    median: int = 7


@dataclass(frozen=True, slots=True)
class GroundingOptions:
    """Every choice of the method; the presets are in ``conf/method``.

    Attributes:
        signal: what a map is made of, a key of `signals.SIGNALS`, or "pixel_gradient" with windows.
        layers: of attention maps, "mean" over all or the one "chosen" by ``vlm.attention_layer``.
        target: the scalar that is differentiated, a key of `target.TARGETS`.
        answer_token: which token of the greedy answer the target sees, from 1.
        decoder_layers: how many of the language model's layers come before the target; None for all.
        relevance: from gradient to token relevance, a key of `relevance.RELEVANCES`.
        neutral_question: divide by the map of this question; "vlm" for that of the VLM's configuration, None for no division.
        neutral_floor: smallest divisor, as a fraction of the mean.
        crops: where they come from, one of `CROPS`: "found" by the loop, or by a baseline.
        candidates: crops to try with ``crops="search"``.
        window: choices of ViCrop.
        padding: "respected", or "ignored" for the authors' geometry, which maps cells as if a padded picture were stretched.
        regions: from map to boxes.
        stopping: when to end.
        gate: when to answer without zooming, and when to keep the plain answer.
        reuse: "exact" keeps keys and values: an answer goes on from its map's forward, or from the full image's, and nothing is computed
            twice; "off" encodes and runs every prompt anew, with logits of all positions (as the authors' code).
        reground: what later rounds differentiate: "all" pictures, or "crops" alone, behind the kept full image, which then competes with
            its first map (an approximation: its tokens get no new gradient).
        crop_scale: pixels or tiles of a crop, relative to the full image's budget, where the family has one (an approximation).
        gradient_layer: take the gradient at the input of this decoder layer instead, from 0; None for the visual tokens themselves
            (an approximation that skips the backward pass through earlier layers).
        max_new_tokens: length limit of the answers.
    """

    signal: str = "gradient"
    layers: str = "mean"
    target: str = "entropy"
    answer_token: int = 1
    decoder_layers: int | None = None
    relevance: str = "gradient_norm"
    neutral_question: str | None = None
    neutral_floor: float = 0.01
    crops: str = "found"
    candidates: int = 16
    window: WindowOptions = field(default_factory=WindowOptions)
    padding: str = "respected"
    regions: RegionOptions = field(default_factory=RegionOptions)
    stopping: StoppingOptions = field(default_factory=StoppingOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    reuse: str = "exact"
    reground: str = "all"
    crop_scale: float = 1.0
    gradient_layer: int | None = None
    max_new_tokens: int = 16

    def __post_init__(self) -> None:
        """Refuse unknown names and impossible numbers before any model runs."""
        _check_choice("target", self.target, TARGETS)
        _check_choice("relevance", self.relevance, RELEVANCES)
        _check_choice("signal", self.signal, (*SIGNALS, "pixel_gradient") if self.crops == "window" else SIGNALS)
        _check_choice("layers", self.layers, ("mean", "chosen"))
        _check_choice("crops", self.crops, CROPS)
        _check_at_least("answer_token", self.answer_token, 1)
        _check_at_least("decoder_layers", 1 if self.decoder_layers is None else self.decoder_layers, 1)
        if self.signal != "gradient" and (self.answer_token, self.decoder_layers, self.gradient_layer) != (1, None, None):
            raise InputError(f"method.signal is '{self.signal}': answer_token, decoder_layers and gradient_layer are for signal=gradient.")
        _check_at_least("neutral_floor", self.neutral_floor, 0)
        _check_at_least("candidates", self.candidates, 1)
        for name in ("side", "tile", "median"):
            _check_at_least(f"window.{name}", getattr(self.window, name) or 1, 1)
        _check_choice("reuse", self.reuse, ("exact", "off"))
        _check_choice("reground", self.reground, ("all", "crops"))
        if self.reground == "crops" and not (self.reuse == "exact" and self.differentiates_prompts and self.neutral_question is None):
            raise InputError(
                "method.reground is 'crops': it needs reuse=exact and signal=gradient, without answer_token, layers or neutral_question."
            )
        if not 0 < self.crop_scale <= 1:
            raise InputError(f"crop_scale is {self.crop_scale}: use more than 0 and at most 1.")
        _check_at_least("gradient_layer", self.gradient_layer or 0, 0)
        gate.check(self.gate)
        _check_choice("padding", self.padding, ("respected", "ignored"))
        _check_choice("regions.score", self.regions.score, SCORES)
        _check_choice("regions.connectivity", self.regions.connectivity, (4, 8))
        _check_choice("regions.aspect_rule", self.regions.aspect_rule, ("two_sided", "released"))
        _check_choice("stopping.rule", self.stopping.rule, RULES)
        _check_at_least("regions.max_regions", self.regions.max_regions, 1)
        _check_at_least("regions.sigma", self.regions.sigma, 0)
        _check_at_least("regions.max_aspect", self.regions.max_aspect, 1)
        _check_at_least("regions.margin", self.regions.margin, 0)
        _check_at_least("regions.min_side", self.regions.min_side, 0)
        _check_at_least("regions.max_iou", self.regions.max_iou, 0)
        threshold_value(np.array([0.0, 1.0]), self.regions.threshold)
        threshold_value(np.array([0.0, 1.0]), self.stopping.entropy_threshold)
        _check_at_least("stopping.rounds", self.stopping.rounds, 1)
        _check_at_least("stopping.max_rounds", self.stopping.max_rounds, 0)
        _check_at_least("max_new_tokens", self.max_new_tokens, 1)

    @property
    def differentiates_prompts(self) -> bool:
        """Whether a map differentiates the very pass that an answer could begin with."""
        layers = (self.decoder_layers, self.gradient_layer)
        return self.signal == "gradient" and self.answer_token == 1 and layers == (None, None)


def _check_choice(name: str, value: object, known: object) -> None:
    if value not in known:  # type: ignore[operator]
        raise InputError(f"Unknown {name} '{value}': use one of {', '.join(str(k) for k in known)}.")  # type: ignore[attr-defined]


def _check_at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} is {value}: it must be at least {least}.")


@dataclass(frozen=True, slots=True)
class Given:
    """What a method may know besides image and question; the paper's loop needs none of it.

    Attributes:
        evidence: boxes of the evidence, for oracles.
        like: crops whose number and sizes a control copies; None lets it run the paper's loop to find them.
        seed: of random crops.
    """

    evidence: tuple[Box, ...] = ()
    like: tuple[Box, ...] | None = None
    seed: tuple[int, ...] = (0,)


class Session:
    """One image under one VLM: every picture is encoded once, and what is spent is counted.

    Args:
        vlm: the model.
        image: the original image, in any Pillow mode.
        choices: (letter, text) pairs; where given, an answer is the letter of the most likely text, and nothing is generated.
        cut_from: what crops are cut from; the image itself by default.
        reuse: keep keys and values of every prompt, so that each runs through the language model once, and the full image in none again.
        crop_scale: budget of a crop, see `GroundingOptions`.

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
    ) -> None:
        check_image(image)
        self.vlm, self.image, self.choices = vlm, to_rgb(image), choices
        self.cut_from = cut_from or self.image
        self.reuse, self.crop_scale = reuse, crop_scale
        self._crops: dict[Box, Picture] = {}
        self._passes: dict[tuple[str, tuple[Box, ...]], Forward] = {}
        self._recorded: set[tuple[str, tuple[Box, ...]]] = set()  # passes that have, or had, a graph
        self._readings: dict[tuple[str, tuple[Box, ...]], Reading] = {}
        self._first: tuple[Prompt, Forward] | None = None  # the first pass of the full image alone
        self._spent: dict[str, Any] = dict.fromkeys(Cost.__dataclass_fields__, 0)
        with self._timed("vision_seconds"):
            self.full = vlm.look(self.image)

    def pictures(self, crops: Sequence[Box]) -> list[Picture]:
        """Return the full image followed by these crops of it, cut from the original pixels."""
        if not self.reuse:
            with self._timed("vision_seconds"):
                return [self.vlm.look(self.image), *(self._look(box) for box in crops)]
        for box in crops:
            if box not in self._crops:
                with self._timed("vision_seconds"):
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
                    warnings.warn(f"{len(crops)} crops do not fit into the context: the first {len(kept)} by rank are used.", stacklevel=2)
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
        self._count(prompt, backwards=signal.backwards)
        if options.answer_token > 1:
            self._count(prompt, backwards=0)
        with self._timed("map_seconds"):
            return signal.read(self.vlm, prompt, options)

    def _differentiate(self, prompt: Prompt, options: GroundingOptions) -> Reading:
        """Return the reading of a prompt by its gradient; behind a kept full image, that keeps its first relevance."""
        begun = self.begin(prompt, graph=True, behind=options.reground == "crops")
        with self._timed("map_seconds"):
            reading = from_forward(self.vlm, begun, options)
        self._spent["backwards"] += 1
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
            self._count(prompt, backwards=0, start=after[1] if after else 0)
            with self._timed("map_seconds" if graph else "answer_seconds"):
                known = self.vlm.forward([prompt], graph=graph, keep=True, after=after[0] if after else None)
            self._passes[key] = known
            if graph:
                self._recorded.add(key)
            if self._first is None and prompt.boxes == (self.full.box,) and known.cache is not None:
                self._first = prompt, replace(known, logits=known.logits.detach(), leaf=known.leaf.detach())  # no graph is held
        return known

    def _shared(self, prompt: Prompt) -> tuple[Forward, int] | None:
        """Return the pass whose keys and values a prompt with crops can go on from, and from which position."""
        if self._first is None or len(prompt.features) == 1:
            return None
        first, known = self._first
        end = self.vlm.first_picture_end(first)
        same = prompt.boxes[0] == first.boxes[0] and first.inputs["input_ids"][:, :end].equal(prompt.inputs["input_ids"][:, :end])
        return (known, end) if same else None

    def _key(self, prompt: Prompt) -> tuple[str, tuple[Box, ...]]:
        return prompt.text, prompt.boxes

    def logits(self, prompt: Prompt) -> Tensor:
        """Return the next-token logits ``(vocabulary,)``, without gradient."""
        if self.reuse:
            return self.begin(prompt).logits[0].detach()
        self._count(prompt, backwards=0)
        with torch.no_grad(), self._timed("map_seconds"):
            return self.vlm.logits(prompt)

    def pixel_gradient(self, question: str, picture: Picture, target: str) -> PixelGradient:
        """Return the gradient of a target at the pixels of a picture, alone in the prompt."""
        self._count(self.vlm.prompt(question, [picture]), backwards=1)
        with self._timed("map_seconds"):
            return self.vlm.pixel_gradient(question, picture, TARGETS[target])

    def neutral(self, options: GroundingOptions) -> str | None:
        """Return the question whose map divides, None for no division."""
        return self.vlm.neutral_question if options.neutral_question == OF_THE_VLM else options.neutral_question

    def answer(self, question: str, crops: Sequence[Box], max_new_tokens: int) -> tuple[str, tuple[Box, ...]]:
        """Return the greedy answer from the full image and these crops, and the crops that fitted into the prompt."""
        prompt, kept = self.prompt(question, crops)
        if self.choices:
            return self._choose(question, prompt, kept), kept
        begun = self.begin(prompt).detached() if self.reuse else None
        if begun is None or begun.cache is None:
            self._count(prompt, backwards=0)
        else:  # the answer will be written behind the prompt into its cache
            self._passes[self._key(prompt)] = replace(begun, cache=None)
        with self._timed("answer_seconds"):
            return self.vlm.generate(prompt, max_new_tokens=max_new_tokens, after=begun), kept

    def _choose(self, question: str, prompt: Prompt, crops: Sequence[Box]) -> str:
        """Return the letter of the most likely choice."""
        losses = []
        for _, text in self.choices:
            self._count(prompt, backwards=0)
            with self._timed("answer_seconds"):
                losses.append(self.vlm.answer_loss(question, self.pictures(crops), text))
        return self.choices[int(np.argmin(losses))][0]

    def _count(self, prompt: Prompt, backwards: int, start: int = 0) -> None:
        visual = prompt.visual_tokens - (len(prompt.features[0]) if start else 0)
        spent = {"forwards": 1, "backwards": backwards, "visual_tokens": visual, "lm_tokens": prompt.length - start}
        for name, value in spent.items():
            self._spent[name] += value

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the wall time of a block to a stage; a GPU is waited for."""
        start = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._spent[stage] += time.perf_counter() - start

    def cost(self) -> Cost:
        """Return what was spent so far."""
        return Cost(**self._spent)

    def uncertainty(self, question: str, crops: Sequence[Box]) -> Uncertainty:
        """Return how unsure the model is of the first token of its answer."""
        return gate.uncertainty(self.logits(self.prompt(question, crops)[0]))

    def finish(
        self, question: str, crops: Sequence[Box], options: GroundingOptions, reason: str, steps: Sequence[ZoomStep] = ()
    ) -> Grounding:
        """Answer from the full image alone and from these crops too, and return the whole course."""
        accept = options.gate.accept != OFF
        known = accept or (self.reuse and not self.choices)  # otherwise it would take a forward of its own
        before = self.uncertainty(question, ()) if known else None
        after = self.uncertainty(question, crops) if known and crops else before
        plain, _ = self.answer(question, (), options.max_new_tokens)
        if accept and crops and before and after and not gate.accepts(before, after, options.gate):
            crops, reason = (), "declined"
        answer, used = self.answer(question, crops, options.max_new_tokens) if crops else (plain, ())
        return Grounding(question, self.image.size, tuple(steps), used, reason, plain, answer, self.cost(), before, after)


Progress = Callable[[int, Decision | None], None]


def silent(rounds: int, decision: Decision | None) -> None:
    """Report nothing."""


def ground(
    vlm: VLM,
    image: Image.Image,
    question: str,
    options: GroundingOptions | None = None,
    *,
    choices: Sequence[tuple[str, str]] = (),
    given: Given | None = None,
    progress: Progress = silent,
) -> Grounding:
    """Answer a question about an image by zooming into what the model's own uncertainty points at (the whole method).

    Where ``options.crops`` names a baseline or control, that one answers: same prompt, same model, same record.

    Args:
        vlm: a vision-language model from `load_vlm`.
        image: the original image, in any Pillow mode.
        question: the question, without any chat template.
        options: every choice of the method; the paper's by default.
        choices: (letter, text) pairs; where given, the answers are letters of the most likely texts.
        given: what only controls may know.
        progress: called after every round with the number of rounds and the decision, None to go on.

    Returns:
        Every round's maps, regions and entropies, the stop reason, and both answers.

    Raises:
        InputError: for an image or question that cannot be used, non-finite logits, or a model without gradients.
    """
    options = options or GroundingOptions()
    session = Session(vlm, image, choices, reuse=options.reuse == "exact", crop_scale=options.crop_scale)
    if not question.strip():
        raise InputError("The question is empty: pass a question about the image.")
    if options.crops.startswith("oracle") and given is None:
        raise InputError(f"method.crops is '{options.crops}': such crops need evidence boxes, so use it in an evaluation only.")
    with frozen(vlm.model):
        if options.crops != "found":
            from entropy_grounding.baselines import METHODS  # they are built on this module

            return METHODS[options.crops](session, question, options, given or Given())
        steps, crops, reason = zoom(session, question, options, progress)
        return session.finish(question, crops, options, reason, steps)


def zoom(
    session: Session, question: str, options: GroundingOptions, progress: Progress = silent
) -> tuple[list[ZoomStep], tuple[Box, ...], str]:
    """Run the rounds until the stopping rule ends them; return them, the crops to answer from, and the reason."""
    steps: list[ZoomStep] = []
    crops: tuple[Box, ...] = ()
    decision = Decision("no_zoom", None) if options.stopping.max_rounds == 0 else None
    while decision is None:
        if _is_sure(session, question, crops, options):
            decision = Decision("sure", len(steps) - 1) if steps else Decision("gated", None)
            break
        steps.append(ground_once(session, question, crops, options))
        crops = tuple(region.box for region in steps[-1].regions)
        decision = decide(steps, options.stopping)
        progress(len(steps), decision)
    used = () if decision.use is None else tuple(region.box for region in steps[decision.use].regions)
    return steps, used, decision.reason


def _is_sure(session: Session, question: str, crops: Sequence[Box], options: GroundingOptions) -> bool:
    """Tell whether the gate lets the answer from these crops stand; the pass is the one that the map would differentiate."""
    if options.gate.score == OFF or (crops and options.gate.settle is None):
        return False
    if session.reuse and options.differentiates_prompts:
        session.begin(session.prompt(question, crops)[0], graph=True, behind=options.reground == "crops")
    return gate.is_sure(session.uncertainty(question, crops), options.gate, zoomed=bool(crops))


def ground_once(session: Session, question: str, crops: Sequence[Box], options: GroundingOptions) -> ZoomStep:
    """Run one grounding round on the full image and its crops: maps, regions, and how concentrated the best map is."""
    prompt, crops = session.prompt(question, crops)
    found = session.read(prompt, options)
    relevance = found.relevance
    neutral = session.neutral(options)
    if neutral is not None:
        divisor = session.read(session.vlm.prompt(neutral, session.pictures(crops)), options).relevance
        relevance = relative_relevance(relevance, divisor, floor=options.neutral_floor)
    size = session.image.size
    views = prompt.views if options.padding == "respected" else tuple(_stretched(v, session.pictures(crops)) for v in prompt.views)
    maps = relevance_maps(relevance, views, options.regions.sigma_for)
    regions = propose_regions(maps, size, options.regions)
    return zoom_step(found.logits, crops, maps, regions, options, prompt.visual_tokens)


def zoom_step(
    logits: Tensor,
    crops: tuple[Box, ...],
    maps: tuple[RelevanceMap, ...],
    regions: tuple[Region, ...],
    options: GroundingOptions,
    visual_tokens: int,
) -> ZoomStep:
    """Record a round; entropies come from its next-token ``logits``."""
    return ZoomStep(
        crops=crops,
        maps=maps,
        regions=regions,
        target=float(TARGETS[options.target](logits)),
        entropy=float(next_token_entropy(logits)),
        top_probability=float(log_probabilities(logits).max().exp()),
        spatial_entropy=_spatial_entropy_of_best(maps, regions, options),
        visual_tokens=visual_tokens,
    )


def _stretched(view: View, pictures: Sequence[Picture]) -> View:
    return replace(view, box=pictures[view.image_index].box, shown=None)


def _spatial_entropy_of_best(maps: Sequence[RelevanceMap], regions: Sequence[Region], options: GroundingOptions) -> float:
    """Return the spatial entropy of the map that owns the best region; inf without any region."""
    if not regions:
        return float("inf")
    best = maps[regions[0].map_index]
    threshold = threshold_value(best.smoothed[best.inside], options.regions.threshold)
    return map_spatial_entropy(best, threshold, options.stopping)


def relevance_map(vlm: VLM, image: Image.Image, question: str, options: GroundingOptions | None = None) -> RelevanceMap:
    """Return the map of the full image alone, before any zoom (paper, steps 1-4); the first view where a family has several."""
    return ground_once(Session(vlm, image), question, (), options or GroundingOptions()).maps[0]
