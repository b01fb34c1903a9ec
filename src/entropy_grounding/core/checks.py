"""Refuse impossible values of options in one sentence."""

from collections.abc import Iterable

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.suggestions import did_you_mean


def check_choice(name: str, value: object, known: Iterable[object]) -> None:
    """Refuse a value that is none of the known ones.

    Raises:
        InputError: naming the option, the value, the nearest known one, and all of them.
    """
    values = list(known)
    if value not in values:
        raise InputError(f"Unknown {name} '{value}'{did_you_mean(str(value), map(str, values))}")


def check_at_least(name: str, value: float | None, least: float) -> None:
    """Refuse a number below the least possible one, and NaN; None is no number and passes.

    Raises:
        InputError: naming the option, the value and the least one.
    """
    if value is not None and not value >= least:
        raise InputError(f"{name} is {value}: it must be at least {least}.")
