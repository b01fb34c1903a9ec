"""The loop of the paper: ground, crop, re-ground, until the stopping rule says so; then answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import Region, RelevanceMap, ZoomStep
from entropy_grounding.method.gate import OFF, is_sure
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.regions import propose_regions, threshold_value
from entropy_grounding.method.relevance import relative_relevance, relevance_maps
from entropy_grounding.method.stopping import Decision, decide, map_spatial_entropy
from entropy_grounding.method.target import TARGETS, log_probabilities, next_token_entropy
from entropy_grounding.vlm.session import Session
from entropy_grounding.vlm.types import Picture

Progress = Callable[[int, Decision | None], None]


def silent(rounds: int, decision: Decision | None) -> None:
    """Report nothing."""


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
    used = (
        () if decision.use is None else tuple(region.box for region in steps[decision.use].regions)
    )
    return steps, used, decision.reason


def _is_sure(
    session: Session, question: str, crops: Sequence[Box], options: GroundingOptions
) -> bool:
    """Tell whether the gate lets the answer from these crops stand; the pass is the one that the map would differentiate."""
    if options.gate.score == OFF or (crops and options.gate.settle is None):
        return False
    if session.reuse and options.differentiates_prompts:
        session.begin(
            session.prompt(question, crops)[0], graph=True, behind=options.reground == "crops"
        )
    return is_sure(session.uncertainty(question, crops), options.gate, zoomed=bool(crops))


def ground_once(
    session: Session, question: str, crops: Sequence[Box], options: GroundingOptions
) -> ZoomStep:
    """Run one grounding round on the full image and its crops: maps, regions, and how concentrated the best map is."""
    prompt, crops = session.prompt(question, crops)
    found = session.read(prompt, options)
    relevance = found.relevance
    neutral = session.neutral(options)
    if neutral is not None:
        divisor = session.read(
            session.vlm.prompt(neutral, session.pictures(crops)), options
        ).relevance
        relevance = relative_relevance(relevance, divisor, floor=options.neutral_floor)
    size = session.image.size
    views = (
        prompt.views
        if options.padding == "respected"
        else tuple(_stretched(v, session.pictures(crops)) for v in prompt.views)
    )
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


def _spatial_entropy_of_best(
    maps: Sequence[RelevanceMap], regions: Sequence[Region], options: GroundingOptions
) -> float:
    """Return the spatial entropy of the map that owns the best region; inf without any region."""
    if not regions:
        return float("inf")
    best = maps[regions[0].map_index]
    threshold = threshold_value(best.smoothed[best.inside], options.regions.threshold)
    return map_spatial_entropy(best, threshold, options.stopping)
