"""Hydra: schemas are made from the library's own dataclasses, so a typo in a key or a type stops the run before it starts."""

import dataclasses
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.verbatim import expanded, is_place, quote_text, verbatim_options

T = TypeVar("T")
_REGISTERED: list[type] = []  # the options of every command line


@cache
def schema_of(options: type) -> type:
    """Return a mutable twin of a frozen dataclass, recursively: OmegaConf makes frozen ones read-only, which forbids overrides."""
    hints = typing.get_type_hints(options)
    fields: list[Any] = []
    for each in dataclasses.fields(options):
        hint: Any = hints[each.name]
        if dataclasses.is_dataclass(hint):
            hint = schema_of(typing.cast(Any, hint))
            default: Any = field(default_factory=hint)
        elif typing.get_origin(hint) is tuple and dataclasses.is_dataclass(
            typing.get_args(hint)[0]
        ):
            hint, default = list[schema_of(typing.get_args(hint)[0])], field(default_factory=tuple)  # type: ignore[misc]
        elif each.default_factory is not dataclasses.MISSING:
            default = field(default_factory=each.default_factory)
        elif each.default is not dataclasses.MISSING:
            default = field(default=each.default)
        else:
            default = field()
        fields.append((each.name, hint, default))
    return dataclasses.make_dataclass(options.__name__, fields)


def build(options: type[T], values: Any) -> T:
    """Build a (nested) dataclass from a configuration node or mapping; places are expanded."""
    values = (
        OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
        if isinstance(values, DictConfig)
        else values
    )
    hints = typing.get_type_hints(options, include_extras=True)
    return options(**{name: _convert(hints[name], value) for name, value in values.items()})


def _convert(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value)
    if is_place(hint):
        value = expanded(value)
    if typing.get_origin(hint) is tuple and value is not None:
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, each) for each in value)
    return value


def register(name: str, options: type) -> None:
    """Make a dataclass available to Hydra as the schema ``name``."""
    ConfigStore.instance().store(name=name, node=schema_of(options))
    _REGISTERED.append(options)


def section_config(
    group: str, name: str, options: type[T], overrides: Mapping[str, Any] | None = None
) -> T:
    """Return the options of ``conf/GROUP/NAME.yaml``, with ``overrides`` of its fields.

    Raises:
        InputError: for an unknown name, field or type.
    """
    known = {path.stem: path for path in sorted((CONF_DIR / group).glob("*.yaml"))}
    if name not in known:
        raise InputError(f"Unknown {group} '{name}': use one of {', '.join(known)}.")

    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(schema_of(options)),
            OmegaConf.load(known[name]),
            dict(overrides or {}),
        )
    except OmegaConfBaseException as error:
        raise InputError(f"{group} '{name}': {' '.join(str(error).split())}.") from error
    return build(options, merged)


def compose_config(overrides: Sequence[str], name: str, options: type[T]) -> T:
    """Compose a configuration of ``conf/`` with Hydra overrides, for notebooks and tests.

    Raises:
        InputError: when an override names an unknown option, preset or VLM, with what is available.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return build(options, compose(name, overrides=list(overrides)))
    except (HydraException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"Configuration {list(overrides)}: {reasons(error)}") from error


def reasons(error: BaseException) -> str:
    """Return what Hydra or OmegaConf say about a configuration in one line, without their advice for programmers."""
    said = f"{error} {error.__cause__ or ''}".partition("Config search path")[0]
    said = re.sub(
        r"To append to your config use \S+|full_key:.*|object_type=.*|See https\S+ for details|Set the env.*",
        "",
        said,
    )

    return " ".join(said.split())


def override_list(given: str | Iterable[str] | None) -> list[str]:
    """Return overrides of a notebook's parameter as a list: a text is one override, or several by comma.

    Commas inside brackets, quotes and values stay: a new override begins with ``NAME=``.
    A place or free text needs no quotes of its own; one in quotes is taken as Hydra reads it.
    """
    if not isinstance(given, str):
        return [_with_quotes(each) for each in given or ()]

    found: list[str] = []
    for piece in re.split(r",(?=\s*[+~]*[A-Za-z_][\w./@]*=)", given):
        if found and _is_open(found[-1]):
            found[-1] += f",{piece}"
        else:
            found.append(piece.strip())

    return [_with_quotes(each) for each in found if each]


def _with_quotes(override: str) -> str:
    value = override.partition("=")[2]
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""

    return override if is_quoted else quote_text([override], _verbatim_names())[0]


def _is_open(text: str) -> bool:
    """Tell whether a text ends inside brackets or quotes."""
    bare = re.sub(r"\\.", "", text)
    unquoted = re.sub(r"(?<!\w)'[^']*'|(?<!\w)\"[^\"]*\"", "", bare)
    depth = sum(unquoted.count(each) for each in "([{") - sum(
        unquoted.count(each) for each in ")]}"
    )

    return depth > 0 or re.search(r"(?<!\w)['\"]", unquoted) is not None


def quoted_arguments(arguments: Sequence[str]) -> list[str]:
    """Return arguments of a command line with its places and texts quoted for Hydra, those of evaluations among them."""
    return quote_text(arguments, _verbatim_names())


def _verbatim_names() -> tuple[str, ...]:
    """Return the places and texts of every command line."""
    return tuple(
        dict.fromkeys(name for options in _REGISTERED for name in verbatim_options(options))
    )
