"""Options whose values are taken as typed: places (files, folders, hub ids) and free texts.

Give the field of a dataclass the type ``Place`` or ``Text``. Command lines then quote its value for
Hydra. A place that begins with ``~`` is expanded when the dataclass is built.
"""

import dataclasses
import os
import re
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

_PLACE, _TEXT = "place", "text"

Place = Annotated[str, _PLACE]
Text = Annotated[str, _TEXT]


def is_place(hint: Any) -> bool:
    """Tell whether a type hint is `Place`, a `Place` that may be None, or several of them."""
    return _marks(hint) == {_PLACE}


def verbatim_options(options: type) -> tuple[str, ...]:
    """Return the names, on a command line, of the options that are one place or one text.

    Options of the dataclasses in a dataclass have names with dots.
    """
    return tuple(_verbatim(options, ""))


def expanded(place: Any) -> Any:
    """Return a place, or several places, with the home folder for a leading ``~``.

    None stays None.
    """
    if isinstance(place, str):
        # Not pathlib, which drops a "/" at the end.
        return os.path.expanduser(place) if place.startswith("~") else place  # noqa: PTH111

    return place if place is None else type(place)(expanded(item) for item in place)


def quote_text(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Quote the values of some options for Hydra, so that any character stands for itself.

    The value ``null`` is not quoted; it means None.

    Args:
        arguments: arguments of a command line, ``name=value``. Other arguments stay as they are.
        keys: names of the options to quote.
    """
    return [_quoted_argument(argument, keys) for argument in arguments]


def _verbatim(options: type, prefix: str) -> Iterator[str]:
    """Yield the names of `verbatim_options`, with a prefix."""
    for name, hint in typing.get_type_hints(options, include_extras=True).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _verbatim(hint, f"{prefix}{name}.")
        elif _marks(hint) and typing.get_origin(hint) not in (list, tuple):
            yield f"{prefix}{name}"


def _marks(hint: Any) -> set[str]:
    """Return the marks of a type hint and of the hints in it."""
    if typing.get_origin(hint) is Annotated:
        return set(hint.__metadata__) & {_PLACE, _TEXT}

    inner = (_marks(argument) for argument in typing.get_args(hint))
    return set().union(*inner)


def _quoted_argument(argument: str, keys: Sequence[str]) -> str:
    """Return an argument with its value quoted, if it is one of these options."""
    key, separator, value = argument.partition("=")
    if not separator or key.lstrip("+") not in keys or value in ("", "null"):
        return argument

    return f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """Return a text in quotes, so that Hydra reads it literally.

    OmegaConf interprets ``${`` and the backslashes before it. Hydra interprets a quote, the
    backslashes before it, and backslashes at the end.
    """
    # Backslashes before such a character are doubled, then one more escapes the character.
    value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    value = re.sub(r"(\\*)'", r"\1\1\\'", value)

    return "'" + re.sub(r"(\\+)\Z", r"\1\1", value) + "'"
