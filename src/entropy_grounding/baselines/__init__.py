"""Baselines and controls: every method answers the same prompt with the same model."""

from collections.abc import Callable

from entropy_grounding.baselines.controls import PLACES, blank, control, upscaled
from entropy_grounding.baselines.privileged import Privileged
from entropy_grounding.baselines.search import entropy_search, nested
from entropy_grounding.baselines.vicrop import vicrop
from entropy_grounding.core.records import Grounding
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.vlm.session import ImageSession

Method = Callable[[ImageSession, str, GroundingOptions, Privileged], Grounding]

# By ``GroundingOptions.crops``; "found" is the paper's loop, which `ground` runs itself.
METHODS: dict[str, Method] = {
    **dict.fromkeys(PLACES, control),
    "window": vicrop,
    "search": entropy_search,
    "nested": nested,
    "blank": blank,
    "upscaled": upscaled,
}
