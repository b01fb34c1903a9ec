"""The thresholds that the calibration of a VLM has for a budget."""

import math
from dataclasses import replace

from entropy_grounding.core.errors import InputError
from entropy_grounding.method.budget import BudgetOptions, Limits
from entropy_grounding.method.gate import OF_ALL, OF_THE_BENCHMARK, stored_calibration
from entropy_grounding.method.options import GroundingOptions


def within_budget(
    options: GroundingOptions, vlm: str, benchmark: str | None = None
) -> GroundingOptions:
    """Return the options with the stored thresholds for ``budget`` in place.

    Without ``budget.passes`` and ``budget.price`` the options stay as they are.

    Args:
        options: of the method.
        vlm: name of the VLM.
        benchmark: name of the benchmark; without one, the thresholds for all together are taken.

    Raises:
        InputError: for a VLM without a calibration, or a budget below its cheapest.
    """
    if options.budget.passes is None and options.budget.price is None:
        return options

    best = stored_limits(options.budget, vlm, benchmark)
    stopping = options.stopping
    return replace(
        options,
        gate=replace(options.gate, threshold=best.plain, settle=best.zoomed),
        stopping=replace(stopping, max_rounds=min(stopping.max_rounds, best.rounds)),
        budget=replace(options.budget, tried=best.tried, tries=best.tries),
    )


def stored_limits(budget: BudgetOptions, vlm: str, benchmark: str | None = None) -> Limits:
    """Return the stored thresholds of the highest score, less the price of their passes.

    Those count that take at most ``budget.passes``. `within_budget` tells the arguments and errors.
    """
    by_benchmark = stored_calibration(vlm, "method.budget").get("budgets") or {}
    key = benchmark if budget.thresholds == OF_THE_BENCHMARK and benchmark else OF_ALL
    stored = [Limits(**each) for each in by_benchmark.get(key, [])]

    if not stored:
        raise InputError(
            f"method.budget is set, and the calibration of '{vlm}' has no budgets for '{key}': "
            f"run eg calibrate vlm={vlm}."
        )

    most = math.inf if budget.passes is None else budget.passes
    affordable = [limits for limits in stored if limits.passes <= most]
    if not affordable:
        raise InputError(
            f"method.budget.passes is {budget.passes}, and the cheapest budget in the calibration "
            f"of '{vlm}' takes {stored[0].passes}: use at least that."
        )

    # A dearer budget is stored only where it scores more, so without a price the dearest is best.
    price = (budget.price or 0.0) / 100
    return max(affordable, key=lambda limits: limits.score - price * limits.passes)
