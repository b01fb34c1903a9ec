"""Options whose values are taken as typed: places (files, folders, hub ids) and free texts.

Mark the field of a dataclass by its type, ``Place`` or ``Text``: command lines then quote its value for Hydra,
and a place that begins with ``~`` is expanded when the dataclass is built.
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
    """Tell whether a type hint is `Place`, or one that may be None, or several of them."""
    return _marks(hint) == {_PLACE}


def verbatim_options(options: type) -> tuple[str, ...]:
    """Return the options of a (nested) dataclass that are one place or one text, by their names on a command line."""
    return tuple(_verbatim(options, ""))


def expanded(place: Any) -> Any:
    """Return a place, or several of them, with a leading ``~`` as the home folder; None stays None."""
    if isinstance(place, str):
        return os.path.expanduser(place) if place.startswith("~") else place  # noqa: PTH111

    return place if place is None else type(place)(expanded(each) for each in place)


def quote_text(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Quote the values of these options for Hydra: any character stands for itself; ``null`` is None.

    Args:
        arguments: of a command line, ``name=value``; others stay as they are.
        keys: names of options.
    """
    return [_quoted_argument(argument, keys) for argument in arguments]


def _verbatim(options: type, prefix: str) -> Iterator[str]:
    for name, hint in typing.get_type_hints(options, include_extras=True).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _verbatim(hint, f"{prefix}{name}.")
        elif _marks(hint) and typing.get_origin(hint) not in (list, tuple):
            yield f"{prefix}{name}"


def _marks(hint: Any) -> set[str]:
    if typing.get_origin(hint) is Annotated:
        return set(hint.__metadata__) & {_PLACE, _TEXT}

    return {mark for inner in typing.get_args(hint) for mark in _marks(inner)}


def _quoted_argument(argument: str, keys: Sequence[str]) -> str:
    key, separator, value = argument.partition("=")
    if not separator or key.lstrip("+") not in keys or value in ("", "null"):
        return argument

    return f"{key}={quoted(value)}"


def quoted(value: str) -> str:
    """Return a text as Hydra reads it literally.

    OmegaConf reads ``${``, and backslashes before it; Hydra then a quote, and backslashes before it or at the end.
    """
    value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    value = re.sub(r"(\\*)'", r"\1\1\\'", value)

    return "'" + re.sub(r"(\\+)\Z", r"\1\1", value) + "'"
