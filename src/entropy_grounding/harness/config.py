"""The options of the method as a model of lmms-eval."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from entropy_grounding.core.config import compose_config, register
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.retried import MOST_RETRIED
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.vlm.config import VLMConfig


@dataclass(frozen=True)
class HarnessConfig:
    """Options of the method as a model of lmms-eval.

    Attributes:
        vlm: which model, from ``conf/vlm``.
        method: which preset, from ``conf/method``.
        method_name: for folders and rows; None takes the name of the preset.
        results_dir: folder of the rows; each VLM, task and method gets its own folder in it.
        flush_every: rows in a part file.
        threads: of torch on a CPU.
        most_retried: share of the rows, from 0 to 1, that may be answered with fewer crops or
            pixels after memory ran out; above it the run ends without a score.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    method_name: str | None = None
    results_dir: Place = "outputs/results/lmms_eval"
    flush_every: int = 16
    threads: int = 1
    most_retried: float = MOST_RETRIED


register("harness_schema", HarnessConfig)


def harness_config(overrides: Sequence[str]) -> HarnessConfig:
    """Compose the options from model arguments.

    Args:
        overrides: ``option=value`` each.

    Raises:
        InputError: for an unknown option, preset or value.
    """
    config = compose_config(overrides, "harness", HarnessConfig)
    if config.method_name is not None:
        return config

    presets = [given.partition("=")[2] for given in overrides if given.startswith("method=")]
    return replace(config, method_name=[*presets[-1:], "entropy_gradient"][0])
