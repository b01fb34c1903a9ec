"""Stopping: how scattered a map is, and when the zoom ends (paper, step 7).

A rule sees the rounds so far. It says whether to stop, and from which round's *proposed* crops to
answer. Every rule ends: the number of rounds is capped whatever the rule says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from entropy_grounding.core.checks import check_at_least, check_choice
from entropy_grounding.core.records import RelevanceMap, ZoomStep
from entropy_grounding.method.regions import label_components, threshold_value
from entropy_grounding.method.relevance import on_image

_ROUNDING = 1e-12  # nats: a single component may miss a share of exactly 1 by rounding


@dataclass(frozen=True, slots=True)
class StoppingOptions:
    """When the zoom ends.

    Attributes:
        rule: a key of `RULES`.
        rounds: number of rounds of the rule "fixed".
        max_rounds: cap for every rule; 0 switches zooming off.
        rollback: answer from the crops before the one that failed the test (paper), instead of the
            last ones (released code).
        offset: the spatial entropy counts what exceeds ``offset`` times the mean of the smoothed
            map.
        entropy_threshold: "elbow" (the map's region threshold, as in the released code) or an
            absolute value, on that excess.
        min_pixels: rule "resolution": stop when every proposed crop is at most this many pixels on
            its longer side.
    """

    rule: str = "spatial_entropy"
    rounds: int = 2
    max_rounds: int = 15
    rollback: bool = True
    offset: float = 2.0
    entropy_threshold: str | float = 0.0
    min_pixels: int = 336

    def __post_init__(self) -> None:
        """Refuse impossible values before any model runs."""
        check_choice("stopping.rule", self.rule, RULES)
        check_at_least("stopping.rounds", self.rounds, 1)
        check_at_least("stopping.max_rounds", self.max_rounds, 0)
        threshold_value(np.array([0.0, 1.0]), self.entropy_threshold)  # raises for an unknown rule


@dataclass(frozen=True, slots=True)
class Decision:
    """Stop now.

    Attributes:
        reason: a key of `STOP_REASONS`.
        use: the round whose proposed crops give the answer; None for no crops, the plain answer.
    """

    reason: str
    use: int | None


# --- How scattered a map is ---


def spatial_entropy(
    smoothed: Float[np.ndarray, "rows cols"],
    threshold: float,
    *,
    offset: float = 2.0,
    connectivity: int = 8,
) -> float:
    """Return how scattered the salient mass of a smoothed map is, in nats.

    ``B = relu(S - offset * mean(S))``. Over the components c of ``B > threshold``, ``p_c`` is the
    mass of B in c divided by the total mass of B (not renormalised over the components), and the
    result is ``-sum p_c log p_c``. No component gives 0, no mass +inf. Source: the paper, step 7,
    in the arithmetic of the authors' code.

    Args:
        smoothed: the map.
        threshold: on B, strict.
        offset: how many means are subtracted.
        connectivity: 4 or 8 neighbours.
    """
    smoothed = np.asarray(smoothed, dtype=np.float64)
    excess = np.maximum(smoothed - offset * smoothed.mean(), 0.0)
    total = excess.sum()
    if total <= 0:
        return float("inf")

    labels, count = label_components(excess > threshold, connectivity)
    masses = [excess[labels == number].sum() for number in range(1, count + 1)]
    shares = np.array(masses) / total

    entropy = float(-(shares * np.log(shares)).sum())
    return entropy if entropy > _ROUNDING else 0.0


def map_spatial_entropy(
    relevance_map: RelevanceMap, region_threshold: float, options: StoppingOptions
) -> float:
    """Return the spatial entropy of one map in nats, with the threshold that the options name.

    Args:
        relevance_map: the map.
        region_threshold: of the map's regions, for ``entropy_threshold="elbow"``.
        options: of the stopping rule.
    """
    threshold = region_threshold
    if options.entropy_threshold != "elbow":
        threshold = float(options.entropy_threshold)

    smoothed = on_image(relevance_map.smoothed, relevance_map.inside)
    return spatial_entropy(smoothed, threshold, offset=options.offset)


# --- Rules ---

Rule = Callable[[Sequence[ZoomStep], StoppingOptions], Decision | None]


def _spatial_entropy_rule(steps: Sequence[ZoomStep], options: StoppingOptions) -> Decision | None:
    """Go on while the spatial entropy falls; then answer from the crops before it rose."""
    last = len(steps) - 1
    if last > 0 and steps[last].spatial_entropy > steps[last - 1].spatial_entropy:
        return Decision("entropy_rose", last - 1 if options.rollback else last)

    return Decision("concentrated", last) if steps[last].spatial_entropy == 0 else None


def _probability_rule(steps: Sequence[ZoomStep], options: StoppingOptions) -> Decision | None:
    """Go on while the most likely next token gets more likely with every new set of crops."""
    last = len(steps) - 1
    if last > 1 and steps[last].top_probability < steps[last - 1].top_probability:
        # Round ``last`` was shown the crops that round ``last - 1`` had proposed.
        return Decision("probability_fell", last - 2 if options.rollback else last - 1)

    return None


def _fixed_rule(steps: Sequence[ZoomStep], options: StoppingOptions) -> Decision | None:
    """Run a fixed number of rounds."""
    return Decision("rounds", len(steps) - 1) if len(steps) >= options.rounds else None


def _resolution_rule(steps: Sequence[ZoomStep], options: StoppingOptions) -> Decision | None:
    """Go on until every proposed crop shows the original pixels at full detail."""
    sides = [max(region.box.width, region.box.height) for region in steps[-1].regions]
    if max(sides) <= options.min_pixels:
        return Decision("resolution", len(steps) - 1)

    return None


def _never(steps: Sequence[ZoomStep], options: StoppingOptions) -> Decision | None:
    """Run up to the cap."""
    return None


RULES: dict[str, Rule] = {
    "spatial_entropy": _spatial_entropy_rule,
    "probability": _probability_rule,
    "fixed": _fixed_rule,
    "resolution": _resolution_rule,
    "none": _never,
}


def decide(steps: Sequence[ZoomStep], options: StoppingOptions) -> Decision | None:
    """Return the decision after the latest round, None to zoom on.

    A round without a region ends the zoom before the rule is asked, and the cap ends it afterwards.
    """
    last = len(steps) - 1
    if not steps[last].regions:
        return Decision("no_region", last - 1) if last > 0 else Decision("empty_map", None)

    decision = RULES[options.rule](steps, options)
    if decision is None and len(steps) >= options.max_rounds:
        return Decision("max_rounds", last)
    return decision
