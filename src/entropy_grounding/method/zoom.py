"""The loop: ground, crop, ground again, until the stopping rule ends it (paper, steps 1-7)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import Region, RelevanceMap, Uncertainty, ZoomStep
from entropy_grounding.method.gate import OFF, is_sure, uncertainty
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import propose_regions, threshold_value
from entropy_grounding.method.relevance import relevance_maps
from entropy_grounding.method.signals import round_relevance
from entropy_grounding.method.stopping import Decision, decide, map_spatial_entropy
from entropy_grounding.method.target import TARGETS, log_probabilities, next_token_entropy
from entropy_grounding.vlm.session import ImageSession

# Called after every round with the number of rounds and the decision, None to go on.
Progress = Callable[[int, Decision | None], None]

# Called before every map with the crops of its prompt: does the answer from them stand as it is?
Stands = Callable[[Sequence[Box]], bool]


def silent(rounds: int, decision: Decision | None) -> None:
    """Report nothing."""


def zoom(
    session: ImageSession,
    question: str,
    options: GroundingOptions,
    progress: Progress = silent,
    stands: Stands | None = None,
) -> tuple[list[ZoomStep], tuple[Box, ...], str]:
    """Run rounds until the stopping rule ends them.

    Args:
        session: the image under the VLM.
        question: the question.
        options: the options of the method.
        progress: called after every round.
        stands: ends the zoom where an answer needs no further map; by default that is for the gate
            to say.

    Returns:
        The rounds, the crops to answer from in pixels of the original image, and the reason, a key
        of `STOP_REASONS`.
    """
    steps: list[ZoomStep] = []
    crops: tuple[Box, ...] = ()
    decision = Decision("no_zoom", None) if options.stopping.max_rounds == 0 else None
    stands = stands or partial(_gate_is_sure, session, question, options=options)

    while decision is None:
        if stands(crops):
            decision = Decision("sure", len(steps) - 1) if steps else Decision("gated", None)
            break

        steps.append(ground_round(session, question, crops, options))
        crops = _proposed(steps[-1])
        decision = decide(steps, options.stopping)
        progress(len(steps), decision)

    used = () if decision.use is None else _proposed(steps[decision.use])
    return steps, used, decision.reason


def _proposed(step: ZoomStep) -> tuple[Box, ...]:
    """Return the crops that a round proposes, the best first."""
    return tuple(region.box for region in step.regions)


def _gate_is_sure(
    session: ImageSession, question: str, crops: Sequence[Box], options: GroundingOptions
) -> bool:
    """Tell whether the gate lets the answer from these crops stand, without another map."""
    if options.gate.score == OFF or (crops and options.gate.settle is None):
        return False

    return is_sure(
        before_a_map(session, question, crops, options), options.gate, zoomed=bool(crops)
    )


def before_a_map(
    session: ImageSession, question: str, crops: Sequence[Box], options: GroundingOptions
) -> Uncertainty:
    """Return how unsure the model is of the answer from these crops.

    It runs the pass that the next map differentiates, so the map finds it in the cache.

    Args:
        session: the image under the VLM.
        question: the question.
        crops: crops behind the full image, in pixels of the original image.
        options: the options of the method.
    """
    prompt = session.prompt(question, crops)
    if session.reuse and options.differentiates_prompts:
        done = session.run(prompt, differentiable=True, resume=options.reground == "crops")
    else:
        done = session.run(prompt)

    return uncertainty(done.logits[0].detach())


def ground_round(
    session: ImageSession, question: str, crops: Sequence[Box], options: GroundingOptions
) -> ZoomStep:
    """Run one round: the maps of the full image and its crops, and the regions that they propose.

    Args:
        session: the image under the VLM.
        question: the question.
        crops: crops behind the full image, in pixels of the original image; none in the first
            round.
        options: the options of the method.
    """
    prompt = session.prompt(question, crops)
    found = round_relevance(session, prompt, options)

    views = found.views
    if options.padding == "ignored":
        views = tuple(_stretched(view, prompt.boxes) for view in views)

    maps = relevance_maps(found.relevance, views, options.regions.sigma_for)
    regions = propose_regions(maps, session.image.size, options.regions)
    return zoom_step(found.logits, prompt.crops, maps, regions, options, prompt.visual_tokens)


def zoom_step(
    logits: Tensor,
    crops: tuple[Box, ...],
    maps: tuple[RelevanceMap, ...],
    regions: tuple[Region, ...],
    options: GroundingOptions,
    visual_tokens: int,
) -> ZoomStep:
    """Record a round; its entropies come from its next-token ``logits`` ``(vocabulary,)``."""
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


def _stretched(view: View, boxes: Sequence[Box]) -> View:
    """Return a token grid as if a padded picture were stretched, as in the authors' code."""
    return replace(view, box=boxes[view.image_index], shown=None)


def _spatial_entropy_of_best(
    maps: Sequence[RelevanceMap], regions: Sequence[Region], options: GroundingOptions
) -> float:
    """Return the spatial entropy in nats of the map that owns the best region; inf without one."""
    if not regions:
        return float("inf")

    best = maps[regions[0].map_index]
    threshold = threshold_value(best.smoothed[best.inside], options.regions.threshold)
    return map_spatial_entropy(best, threshold, options.stopping)
