"""The thresholds that the calibration of a VLM has for a budget."""

from dataclasses import replace

from entropy_grounding.core.errors import InputError
from entropy_grounding.method.budget import Limits
from entropy_grounding.method.gate import stored_calibration
from entropy_grounding.method.options import GroundingOptions


def within_budget(options: GroundingOptions, vlm: str) -> GroundingOptions:
    """Return the options with the stored thresholds for ``budget.passes`` in place.

    They are those of the dearest stored budget that does not exceed it. Without a budget the
    options stay as they are.

    Args:
        options: of the method.
        vlm: name of the VLM.

    Raises:
        InputError: for a VLM without a calibration, or a budget below its cheapest.
    """
    passes = options.budget.passes
    if passes is None:
        return options

    stored = [
        Limits(**each) for each in stored_calibration(vlm, "method.budget").get("budgets", [])
    ]
    affordable = [limits for limits in stored if limits.passes <= passes]
    if not affordable:
        known = f"no budget below {stored[0].passes}" if stored else "no budgets"
        raise InputError(
            f"method.budget.passes is {passes}, and the calibration of '{vlm}' has {known}: use "
            f"more passes, or run eg calibrate vlm={vlm}."
        )

    best = max(affordable, key=lambda limits: limits.passes)
    stopping = options.stopping
    return replace(
        options,
        gate=replace(options.gate, threshold=best.plain, settle=best.zoomed),
        stopping=replace(stopping, max_rounds=min(stopping.max_rounds, best.rounds)),
        budget=replace(options.budget, tried=best.tried, tries=best.tries),
    )
