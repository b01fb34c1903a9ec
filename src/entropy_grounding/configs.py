"""Hydra: schemas are made from the library's own dataclasses, so a typo in a key or a type stops the run before it starts."""

import dataclasses
import re
import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from entropy_grounding.errors import InputError
from entropy_grounding.options import GroundingOptions
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm import VLMConfig

_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf") if folder.is_dir())

T = TypeVar("T")


@dataclass(frozen=True)
class GroundConfig:
    """Options of ``python -m entropy_grounding.ground`` and of the quickstart notebook.

    Attributes:
        vlm: which model, from ``conf/vlm``.
        method: which preset, from ``conf/method``, and every option of it.
        tracking: Weights & Biases.
        image: a picture file; None takes a scene of the tiny VLM.
        question: the question; None takes the scene's own.
        seed: which scene.
        max_new_tokens: length limit of the answers.
        run_dir: where figure, JSON, crops and the W&B run go.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    image: str | None = None
    question: str | None = None
    seed: int = 0
    max_new_tokens: int = 16
    run_dir: str = "outputs/ground"


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
        elif typing.get_origin(hint) is tuple and dataclasses.is_dataclass(typing.get_args(hint)[0]):
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
    """Build a (nested) dataclass from a configuration node or mapping."""
    values = OmegaConf.to_container(values, resolve=True, throw_on_missing=True) if isinstance(values, DictConfig) else values
    hints = typing.get_type_hints(options)
    return options(**{name: _convert(hints[name], value) for name, value in values.items()})


def _convert(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value)
    if typing.get_origin(hint) is tuple and value is not None:
        inner = typing.get_args(hint)[0]
        return tuple(_convert(inner, each) for each in value)
    return value


def register(name: str, options: type) -> None:
    """Make a dataclass available to Hydra as the schema ``name``."""
    ConfigStore.instance().store(name=name, node=schema_of(options))


def compose_config(overrides: Sequence[str] = (), name: str = "ground", options: type[T] = GroundConfig) -> T:  # type: ignore[assignment]
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
        reasons = " ".join(f"{error} {error.__cause__ or ''}".partition("Config search path")[0].split())
        raise InputError(f"Configuration {list(overrides)}: {reasons}") from error


def quote_text(arguments: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Quote the values of free-text options, so that users may type commas, apostrophes and brackets in a question.

    Hydra's rule: inside quotes a backslash escapes only a quote, so backslashes are doubled where a quote follows.
    """
    quoted = []
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if separator and key in keys and value and value != "null":
            value = re.sub(r"(\\*)'", r"\1\1\'", value).replace("${", r"\${")
            value = "'" + re.sub(r"(\\+)$", r"\1\1", value) + "'"
        quoted.append(key + separator + value)
    return quoted


def quote_command_line(*keys: str) -> None:
    """Apply `quote_text` to the arguments of this process."""
    sys.argv[1:] = quote_text(sys.argv[1:], keys)


register("ground_schema", GroundConfig)
