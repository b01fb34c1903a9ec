"""The options of an evaluation, and what identifies it."""

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.benchmarks.load import with_reachable_boxes
from entropy_grounding.benchmarks.miniature.scenes import canvas_of
from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.provenance import config_hash, manifest
from entropy_grounding.method.gate import calibrated
from entropy_grounding.method.options import OF_THE_VLM, GroundingOptions
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.weights import model_type_of, weights_identities


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation.

    Attributes:
        vlm: which model, from ``conf/vlm``.
        benchmark: which data and protocol, from ``conf/benchmark``.
        method: which preset, from ``conf/method``.
        tracking: Weights & Biases.
        method_name: for labels and folders.
        results_dir: folder of the rows; each VLM, benchmark and method has its own.
        shard: "i/n": every n-th row of the data set, from the i-th on; shards run side by side and
            are joined by one command.
        flush_every: rows in a part file; that many may have to be done again after a power cut.
        retry_failed: do examples again whose stored row has failed.
        threads: of torch on a CPU.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    method_name: str = "entropy_gradient"
    results_dir: Place = "outputs/evaluate"
    shard: str = "1/1"
    flush_every: int = 16
    retry_failed: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible options before anything is loaded."""
        parse_shard(self.shard)
        for option, name in (
            ("vlm.name", self.vlm.name),
            ("benchmark.name", self.benchmark.name),
            ("method_name", self.method_name),
        ):
            check_name(option, name)
        for name in ("flush_every", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: use at least 1.")


register("evaluate_schema", EvaluateConfig)

# Options at these values do not count in the config hash.
DEFAULTS = {
    "vlm": asdict(VLMConfig()),
    "benchmark": asdict(BenchmarkConfig()),
    "method": asdict(GroundingOptions()),
}


def results_folder(config: EvaluateConfig) -> Path:
    """Return the folder of the rows of this VLM, benchmark and method."""
    return Path(config.results_dir) / config.vlm.name / config.benchmark.name / config.method_name


def resolved(config: EvaluateConfig) -> EvaluateConfig:
    """Fill in what depends on another section: the size of a miniature's pictures, boxes of local data, the gate's threshold."""
    benchmark = with_reachable_boxes(config.benchmark)
    if benchmark.path.startswith("miniature:") and benchmark.canvas is None:
        benchmark = replace(benchmark, canvas=canvas_of(model_type_of(config.vlm.weights)))
    chosen = calibrated(config.method.gate, config.vlm.name, config.benchmark.name)
    return replace(config, benchmark=benchmark, method=replace(config.method, gate=chosen))


def run_manifest(config: EvaluateConfig) -> dict[str, Any]:
    """Return what is stored beside the rows: the config hash, configuration, data, weights, commit and versions."""
    identities = weights_identities(config.vlm.weights, config.vlm.revision) | data_identities(
        config.benchmark
    )
    found = {"config_hash": fingerprint(config), "method_name": config.method_name, **identities}
    return {**found, **manifest(_sections(config))}


def fingerprint(config: EvaluateConfig) -> str:
    """Return the config hash: what may change a row of this evaluation."""
    sections = _sections(config)
    counted = {**sections, "vlm": _that_count(sections)}
    known = weights_identities(config.vlm.weights, config.vlm.revision) | data_identities(
        config.benchmark
    )
    return config_hash(counted, DEFAULTS, **known)


def _sections(config: EvaluateConfig) -> dict[str, Any]:
    return {name: asdict(getattr(config, name)) for name in ("vlm", "benchmark", "method")}


def _that_count(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the options of the VLM without those that the method does not ask for."""
    method = sections["method"]
    unused = {
        "attention_layer": method["layers"] != "chosen",
        "neutral_question": method["neutral_question"] != OF_THE_VLM,
    }
    return {name: value for name, value in sections["vlm"].items() if not unused.get(name)}


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of a shard "i/n", counted from 1.

    Raises:
        InputError: for another format, or i outside 1 .. n.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"shard is '{text}': use i/n with i from 1 to n, for example shard=1/8.")
    return int(found[1]), int(found[2])


def check_name(option: str, name: str) -> None:
    """Refuse a name that is no plain name of a folder.

    Raises:
        InputError: naming the option.
    """
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name):
        raise InputError(
            f"{option} is '{name}': it names a folder, so use letters, digits, and any of . _ + = "
            "- (at most 100)."
        )
