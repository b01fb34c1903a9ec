"""Configuration with Hydra.

Schemas are made from the dataclasses of the library. A typo in a key, or a wrong type, therefore
stops a run before it starts.
"""

import dataclasses
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR, names_in
from entropy_grounding.core.suggestions import nearest, nearest_option
from entropy_grounding.core.verbatim import expanded, is_place, quote_text, verbatim_options

T = TypeVar("T")
_REGISTERED: list[type] = []  # the options of every command line


@cache
def schema_of(options: type[Any]) -> type:
    """Return a mutable copy of a frozen dataclass and of the dataclasses in it.

    OmegaConf makes frozen dataclasses read-only, which forbids overrides.
    """
    hints = typing.get_type_hints(options)
    fields: list[Any] = []

    for entry in dataclasses.fields(options):
        hint: Any = hints[entry.name]
        is_tuple = typing.get_origin(hint) is tuple
        if dataclasses.is_dataclass(hint):
            hint = schema_of(typing.cast(Any, hint))
            default: Any = field(default_factory=hint)
        elif is_tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
            # Several dataclasses are a list in a schema; `build` makes a tuple of them again.
            hint = list[schema_of(typing.get_args(hint)[0])]  # type: ignore[misc]
            default = field(default_factory=tuple)
        elif entry.default_factory is not dataclasses.MISSING:
            default = field(default_factory=entry.default_factory)
        elif entry.default is not dataclasses.MISSING:
            default = field(default=entry.default)
        else:
            default = field()
        fields.append((entry.name, hint, default))

    return dataclasses.make_dataclass(options.__name__, fields)


def build(options: type[T], values: Any) -> T:
    """Build a dataclass, with the dataclasses in it, from a configuration node or mapping.

    A leading ``~`` of a place is expanded.
    """
    if isinstance(values, DictConfig):
        values = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)

    # With extras, because `Place` and `Text` are annotations of `str`.
    hints = typing.get_type_hints(options, include_extras=True)
    converted = {name: _convert(hints[name], value) for name, value in values.items()}

    return options(**converted)


def _convert(hint: Any, value: Any) -> Any:
    """Return a value in the type of its field: dataclasses are built, lists become tuples."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value)

    if is_place(hint):
        value = expanded(value)
    if typing.get_origin(hint) is tuple and value is not None:
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, item) for item in value)

    return value


def register(name: str, options: type) -> None:
    """Make a dataclass available to Hydra as the schema ``name``."""
    ConfigStore.instance().store(name=name, node=schema_of(options))
    _REGISTERED.append(options)


def section_config(
    group: str, name: str, options: type[T], overrides: Mapping[str, Any] | None = None
) -> T:
    """Return the options of ``conf/GROUP/NAME.yaml``.

    Args:
        group: name of the folder.
        name: name of the file, without its suffix.
        options: dataclass of the options.
        overrides: values of fields that replace those of the file.

    Raises:
        InputError: for an unknown name, field or type.
    """
    files = {path.stem: path for path in sorted((CONF_DIR / group).glob("*.yaml"))}
    check_choice(group, name, files)

    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(schema_of(typing.cast(Any, options))),
            OmegaConf.load(files[name]),
            dict(overrides or {}),
        )
    except OmegaConfBaseException as error:
        raise InputError(f"{group} '{name}': {' '.join(str(error).split())}.") from error

    return build(options, merged)


def compose_config(overrides: Sequence[str], name: str, options: type[T]) -> T:
    """Compose a configuration of ``conf/`` with Hydra overrides, for notebooks and tests.

    Args:
        overrides: ``option=value`` each.
        name: name of the configuration, without its suffix.
        options: dataclass of the configuration.

    Raises:
        InputError: when an override names an unknown option, preset or VLM. The message names
            what is available.
    """
    # Hydra keeps one global state per process, and a notebook composes more than once.
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return build(options, compose(name, overrides=list(overrides)))
    except (HydraException, ValueError) as error:
        if isinstance(error, InputError):
            raise

        said = reasons(error)
        raise InputError(
            f"Configuration {list(overrides)}: {said}{_meant(said, options)}"
        ) from error


def _meant(said: str, options: type) -> str:
    """Return the question for the name that was meant, "" where none is similar.

    Args:
        said: what Hydra says about a configuration.
        options: dataclass of the configuration.
    """
    near = None
    if unknown := re.search(r"Could not override '([^']+)'", said):
        near = nearest_option(unknown[1], _option_names(options, ""))
    elif unknown := re.search(r"Could not find '([^']+)/([^/']+)'", said):
        near = nearest(unknown[2], names_in(unknown[1]))

    return f". Did you mean '{near}'?" if near else ""


def _option_names(options: type, prefix: str) -> Iterator[str]:
    """Yield the names of all options on a command line, those of sections with dots."""
    for name, hint in typing.get_type_hints(options).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _option_names(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def reasons(error: BaseException) -> str:
    """Return what Hydra or OmegaConf say about a configuration, in one line.

    Their advice for programmers is left out.
    """
    said = f"{error} {error.__cause__ or ''}".partition("Config search path")[0]
    said = re.sub(
        r"To append to your config use \S+|full_key:.*|object_type=.*"
        r"|See https\S+ for details|Set the env.*",
        "",
        said,
    )

    return " ".join(said.split())


def override_list(given: str | Iterable[str] | None) -> list[str]:
    """Return the overrides of a notebook's parameter as a list, quoted for Hydra.

    A text is one override, or several with commas between them. Commas inside brackets, quotes and
    values stay, because a new override begins with ``NAME=``. A place or free text needs no quotes;
    a value in quotes is taken as Hydra reads it.
    """
    if not isinstance(given, str):
        return [_with_quotes(override) for override in given or ()]

    overrides: list[str] = []
    for piece in re.split(r",(?=\s*[+~]*[A-Za-z_][\w./@]*=)", given):
        # A comma inside brackets or quotes was no end of an override: put the pieces together.
        if overrides and _is_open(overrides[-1]):
            overrides[-1] += f",{piece}"
        else:
            overrides.append(piece.strip())

    return [_with_quotes(override) for override in overrides if override]


def _with_quotes(override: str) -> str:
    """Return an override with its place or text quoted for Hydra, if it is not in quotes yet."""
    value = override.partition("=")[2]
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""

    return override if is_quoted else quote_text([override], _verbatim_names())[0]


def _is_open(text: str) -> bool:
    """Tell whether a text ends inside brackets or quotes."""
    # Escaped characters and quoted parts neither open nor close anything.
    bare = re.sub(r"\\.", "", text)
    unquoted = re.sub(r"(?<!\w)'[^']*'|(?<!\w)\"[^\"]*\"", "", bare)
    opened = sum(unquoted.count(bracket) for bracket in "([{")
    closed = sum(unquoted.count(bracket) for bracket in ")]}")

    return opened > closed or re.search(r"(?<!\w)['\"]", unquoted) is not None


def quoted_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command line with their places and texts quoted for Hydra.

    The places and texts of all command lines count, because an argument may be one of an
    evaluation that the command starts.
    """
    return quote_text(arguments, _verbatim_names())


def _verbatim_names() -> tuple[str, ...]:
    """Return the names of the places and texts of every command line, each once."""
    names: dict[str, None] = {}
    for options in _REGISTERED:
        names.update(dict.fromkeys(verbatim_options(options)))

    return tuple(names)
