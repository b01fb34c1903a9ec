"""Baselines and controls: every method answers the same prompt with the same model; `zoom.ground` runs the one that its options name."""

from collections.abc import Callable

from entropy_grounding.baselines.controls import PLACES, blank, control, upscaled
from entropy_grounding.baselines.privileged import Given
from entropy_grounding.baselines.search import entropy_search, nested
from entropy_grounding.baselines.vicrop import vicrop
from entropy_grounding.core.records import Grounding
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.vlm.session import Session

# By ``GroundingOptions.crops``; "found" is `zoom.ground` itself.
METHODS: dict[str, Callable[[Session, str, GroundingOptions, Given], Grounding]] = {
    **dict.fromkeys(PLACES, control),
    "window": vicrop,
    "search": entropy_search,
    "nested": nested,
    "blank": blank,
    "upscaled": upscaled,
}
