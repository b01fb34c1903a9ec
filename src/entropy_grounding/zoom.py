"""The loop of the paper: ground, crop, re-ground, until the stopping rule says so; then answer."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from entropy_grounding.errors import ContextError, InputError
from entropy_grounding.images import check_image, to_rgb
from entropy_grounding.regions import SCORES, RegionOptions, propose_regions, threshold_value
from entropy_grounding.relevance import RELEVANCES, relative_relevance, relevance_maps
from entropy_grounding.stopping import RULES, Decision, StoppingOptions, decide, map_spatial_entropy
from entropy_grounding.structures import Box, Cost, Grounding, RelevanceMap, View, ZoomStep
from entropy_grounding.target import TARGETS, log_probabilities, next_token_entropy
from entropy_grounding.vlm.base import VLM, Picture, Prompt, TokenGradients


@dataclass(frozen=True, slots=True)
class GroundingOptions:
    """Every choice of the method; the presets are in ``conf/method``.

    Attributes:
        target: the scalar that is differentiated, a key of `target.TARGETS`.
        relevance: from gradient to token relevance, a key of `relevance.RELEVANCES`.
        neutral_question: divide by the map of this question; None for no division.
        crops: "found" by the method; in an evaluation also "oracle" (the evidence with context) or "random" (the same sizes, anywhere).
        padding: "respected", or "ignored" for the authors' geometry, which maps cells as if a padded picture were stretched.
        regions: from map to boxes.
        stopping: when to end.
        max_new_tokens: length limit of the answers.
    """

    target: str = "entropy"
    relevance: str = "gradient_norm"
    neutral_question: str | None = None
    crops: str = "found"
    padding: str = "respected"
    regions: RegionOptions = field(default_factory=RegionOptions)
    stopping: StoppingOptions = field(default_factory=StoppingOptions)
    max_new_tokens: int = 16

    def __post_init__(self) -> None:
        """Refuse unknown names and impossible numbers before any model runs."""
        _check_choice("target", self.target, TARGETS)
        _check_choice("relevance", self.relevance, RELEVANCES)
        _check_choice("crops", self.crops, ("found", "oracle", "random"))
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


def _check_choice(name: str, value: object, known: object) -> None:
    if value not in known:  # type: ignore[operator]
        raise InputError(f"Unknown {name} '{value}': use one of {', '.join(str(k) for k in known)}.")  # type: ignore[attr-defined]


def _check_at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} is {value}: it must be at least {least}.")


class Session:
    """One image under one VLM: every picture is encoded once, and what is spent is counted.

    Args:
        vlm: the model.
        image: the original image.
        choices: (letter, text) pairs; where given, an answer is the letter of the most likely text, and nothing is generated.
    """

    def __init__(self, vlm: VLM, image: Image.Image, choices: Sequence[tuple[str, str]] = ()) -> None:
        self.vlm, self.image, self.choices = vlm, image, choices
        self.full = vlm.look(image)
        self._crops: dict[Box, Picture] = {}
        self._forwards, self._backwards, self._visual_tokens = 0, 0, 0

    def pictures(self, crops: Sequence[Box]) -> list[Picture]:
        """Return the full image followed by these crops of it, cut from the original pixels."""
        for box in crops:
            if box not in self._crops:
                self._crops[box] = self.vlm.look(self.image, box)
        return [self.full, *(self._crops[box] for box in crops)]

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

    def gradient(self, prompt: Prompt, target: str) -> TokenGradients:
        """Return the logits, and gradients and embeddings of the visual tokens."""
        self._count(prompt, backwards=1)
        return self.vlm.gradient(prompt, TARGETS[target])

    def answer(self, question: str, crops: Sequence[Box], max_new_tokens: int) -> tuple[str, tuple[Box, ...]]:
        """Return the greedy answer from the full image and these crops, and the crops that fitted into the prompt."""
        prompt, kept = self.prompt(question, crops)
        if self.choices:
            losses = []
            for _, text in self.choices:
                self._count(prompt, backwards=0)
                losses.append(self.vlm.answer_loss(question, self.pictures(kept), text))
            return self.choices[int(np.argmin(losses))][0], kept
        self._count(prompt, backwards=0)
        return self.vlm.generate(prompt, max_new_tokens=max_new_tokens), kept

    def _count(self, prompt: Prompt, backwards: int) -> None:
        self._forwards += 1
        self._backwards += backwards
        self._visual_tokens += prompt.visual_tokens

    def cost(self) -> Cost:
        """Return what was spent so far."""
        return Cost(self._forwards, self._backwards, self._visual_tokens)


def ground(
    vlm: VLM,
    image: Image.Image,
    question: str,
    options: GroundingOptions | None = None,
    *,
    choices: Sequence[tuple[str, str]] = (),
    progress: Callable[[int, Decision | None], None] = lambda rounds, decision: None,
) -> Grounding:
    """Answer a question about an image by zooming into what the model's own uncertainty points at (the whole method).

    Args:
        vlm: a vision-language model from `load_vlm`.
        image: the original image, in any Pillow mode.
        question: the question, without any chat template.
        options: every choice of the method; the paper's by default.
        choices: (letter, text) pairs; where given, the answers are letters of the most likely texts.
        progress: called after every round with the number of rounds and the decision, None to go on.

    Returns:
        Every round's maps, regions and entropies, the stop reason, and both answers.

    Raises:
        InputError: for an image or question that cannot be used, non-finite logits, or a model without gradients.
    """
    options = options or GroundingOptions()
    check_image(image)
    image = to_rgb(image)
    if not question.strip():
        raise InputError("The question is empty: pass a question about the image.")
    if options.crops != "found":
        raise InputError(f"method.crops is '{options.crops}': such crops need evidence boxes, so use it in an evaluation only.")
    session = Session(vlm, image, choices)
    steps: list[ZoomStep] = []
    crops: tuple[Box, ...] = ()
    decision = Decision("no_zoom", None) if options.stopping.max_rounds == 0 else None
    while decision is None:
        steps.append(ground_once(session, question, crops, options))
        crops = tuple(region.box for region in steps[-1].regions)
        decision = decide(steps, options.stopping)
        progress(len(steps), decision)
    used = () if decision.use is None else tuple(region.box for region in steps[decision.use].regions)
    plain, _ = session.answer(question, (), options.max_new_tokens)
    answer, used = session.answer(question, used, options.max_new_tokens) if used else (plain, used)
    return Grounding(question, image.size, tuple(steps), used, decision.reason, plain, answer, session.cost())


def ground_once(session: Session, question: str, crops: Sequence[Box], options: GroundingOptions) -> ZoomStep:
    """Run one grounding round on the full image and its crops: maps, regions, and how concentrated the best map is."""
    prompt, crops = session.prompt(question, crops)
    found = session.gradient(prompt, options.target)
    relevance = RELEVANCES[options.relevance](found.gradients, found.embeddings)
    if options.neutral_question is not None:
        neutral = session.gradient(session.vlm.prompt(options.neutral_question, session.pictures(crops)), options.target)
        relevance = relative_relevance(relevance, RELEVANCES[options.relevance](neutral.gradients, neutral.embeddings))
    size = session.image.size
    views = prompt.views if options.padding == "respected" else tuple(_stretched(v, session.pictures(crops)) for v in prompt.views)
    maps = relevance_maps(relevance, views, options.regions.sigma_for)
    regions = propose_regions(maps, size, options.regions)
    return ZoomStep(
        crops=crops,
        maps=maps,
        regions=regions,
        target=float(TARGETS[options.target](found.logits)),
        entropy=float(next_token_entropy(found.logits)),
        top_probability=float(log_probabilities(found.logits).max().exp()),
        spatial_entropy=_spatial_entropy_of_best(maps, regions, options),
        visual_tokens=prompt.visual_tokens,
    )


def _stretched(view: View, pictures: Sequence[Picture]) -> View:
    return replace(view, box=pictures[view.image_index].box, shown=None)


def _spatial_entropy_of_best(maps: Sequence[RelevanceMap], regions: Sequence, options: GroundingOptions) -> float:
    """Return the spatial entropy of the map that owns the best region; inf without any region."""
    if not regions:
        return float("inf")
    best = maps[regions[0].map_index]
    threshold = threshold_value(best.smoothed[best.inside], options.regions.threshold)
    return map_spatial_entropy(best, threshold, options.stopping)


def relevance_map(vlm: VLM, image: Image.Image, question: str, options: GroundingOptions | None = None) -> RelevanceMap:
    """Return the map of the full image alone, before any zoom (paper, steps 1-4); the first view where a family has several."""
    return ground_once(Session(vlm, image), question, (), options or GroundingOptions()).maps[0]
