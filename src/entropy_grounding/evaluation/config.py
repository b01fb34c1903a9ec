"""The options of an evaluation, and what identifies it."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.benchmarks.load import with_reachable_boxes
from entropy_grounding.benchmarks.miniature.scenes import canvas_of
from entropy_grounding.core.checks import check_at_least
from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.provenance import config_hash, manifest
from entropy_grounding.evaluation.retried import MOST_RETRIED
from entropy_grounding.method.gate import calibrated
from entropy_grounding.method.limits import within_budget
from entropy_grounding.method.options import OF_THE_VLM, GroundingOptions, at_depth
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.weights import layer_count, model_type_of, weights_identities


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation.

    Attributes:
        vlm: which model, from ``conf/vlm``.
        benchmark: which data and protocol, from ``conf/benchmark``.
        method: which preset, from ``conf/method``.
        tracking: Weights & Biases.
        method_name: for labels and folders.
        results_dir: folder of the rows; each VLM, benchmark and method gets its own folder in it.
        shard: "i/n" takes every n-th row of the data set, from the i-th on. Shards run side by
            side, and `eg merge` joins them.
        flush_every: rows in a part file; that many may have to be done again after a power cut.
        retry_failed: do examples again whose stored row has failed.
        stop_after: stop when so many examples in a row fail for the same reason, which is then no
            fault of the examples; None for never.
        threads: of torch on a CPU.
        most_retried: share of the rows, from 0 to 1, that may be answered with fewer crops or
            pixels after memory ran out; above it the evaluation is refused in tables.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    method_name: str = "entropy_gradient"
    results_dir: Place = "outputs/results/evaluate"
    shard: str = "1/1"
    flush_every: int = 16
    retry_failed: bool = False
    stop_after: int | None = 10
    threads: int = 1
    most_retried: float = MOST_RETRIED

    def __post_init__(self) -> None:
        """Refuse impossible options before anything is loaded."""
        parse_shard(self.shard)
        check_name("vlm.name", self.vlm.name)
        check_name("benchmark.name", self.benchmark.name)
        check_name("method_name", self.method_name)

        check_at_least("flush_every", self.flush_every, 1)
        check_at_least("threads", self.threads, 1)
        check_at_least("stop_after", self.stop_after, 1)
        if not 0 <= self.most_retried <= 1:
            raise InputError(f"most_retried is {self.most_retried}: use a share from 0 to 1.")


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


def label_of(config: EvaluateConfig) -> str:
    """Return VLM, benchmark, method and shard in one line, for progress bars and logs."""
    shard = "" if config.shard == "1/1" else f" {config.shard}"
    return f"{config.vlm.name} {config.benchmark.name} {config.method_name}{shard}"


def resolved(config: EvaluateConfig) -> EvaluateConfig:
    """Fill in the options that depend on another section.

    They are the size of a miniature's pictures, the boxes of local data, the thresholds of the
    gate, and the layers of fractions of depth.

    Raises:
        InputError: for a value that another section cannot serve, before anything is loaded.
    """
    benchmark = with_reachable_boxes(config.benchmark)
    if benchmark.path.startswith("miniature:") and benchmark.canvas is None:
        benchmark = replace(benchmark, canvas=canvas_of(model_type_of(config.vlm.weights)))

    chosen = within_budget(config.method, config.vlm.name, config.benchmark.name)
    gate = calibrated(chosen.gate, config.vlm.name, config.benchmark.name)
    method = _on_layers(replace(chosen, gate=gate), config.vlm)
    return replace(config, benchmark=benchmark, method=method)


def _on_layers(method: GroundingOptions, vlm: VLMConfig) -> GroundingOptions:
    """Return the method with numbers of layers that its VLM has.

    Raises:
        InputError: for a layer that the VLM lacks, and where none is chosen for attention maps.
    """
    layers = layer_count(vlm) if _names_layers(method) else None
    if method.layers == "chosen":
        _check_attention_layer(vlm, layers)

    return at_depth(method, layers) if layers else method


def _names_layers(method: GroundingOptions) -> bool:
    """Tell whether a method depends on the number of decoder layers."""
    named = (method.decoder_layers, method.gradient_layer, *method.depths)
    return method.layers == "chosen" or any(layer is not None for layer in named)


def _check_attention_layer(vlm: VLMConfig, layers: int | None) -> None:
    """Refuse attention maps of a chosen layer where none is chosen, or one that does not exist."""
    layer = vlm.attention_layer
    if layer is None:
        raise InputError(
            f"vlm.attention_layer of '{vlm.name}' is not set, and method.layers=chosen needs it: "
            "name a layer that was chosen on other rows (as eg profile layers does), or use a "
            "method with method.layers=mean."
        )
    if layers and not 0 <= layer < layers:
        raise InputError(
            f"vlm.attention_layer of '{vlm.name}' is {layer}: method.layers=chosen needs one from "
            f"0 to {layers - 1}, or use method.layers=mean."
        )


# --- What identifies it ---


def run_manifest(config: EvaluateConfig, data: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the manifest of a run: config hash, configuration, data, weights, commit, versions.

    Args:
        config: of the run.
        data: what identifies the data, if another program reads them; None for a benchmark.
    """
    return {
        "config_hash": fingerprint(config, data),
        "method_name": config.method_name,
        **_identities(config, data),
        **manifest(_sections(config)),
    }


def fingerprint(config: EvaluateConfig, data: Mapping[str, str] | None = None) -> str:
    """Return the config hash: it changes with everything that may change a row.

    Args:
        config: of the run.
        data: as `run_manifest` takes it.
    """
    sections = _sections(config)
    counted = {**sections, "vlm": _that_count(sections)}

    # Only an oracle's answer depends on the boxes; of other rows they fill places, at any time.
    identities = _identities(config, data)
    if not config.method.crops.startswith("oracle"):
        identities.pop("boxes", None)
    return config_hash(counted, DEFAULTS, **identities)


def boxes_identity(config: EvaluateConfig) -> str | None:
    """Return what identifies the evidence boxes beside the data, None where there are none."""
    return data_identities(config.benchmark).get("boxes")


def _identities(config: EvaluateConfig, data: Mapping[str, str] | None) -> dict[str, Any]:
    """Return what identifies weights and data by their content."""
    weights = weights_identities(config.vlm.weights, config.vlm.revision)
    return weights | (data_identities(config.benchmark) if data is None else dict(data))


def _sections(config: EvaluateConfig) -> dict[str, Any]:
    return {name: asdict(getattr(config, name)) for name in ("vlm", "benchmark", "method")}


def _that_count(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the options of the VLM without those that the method does not use."""
    method = sections["method"]
    unused = {
        "attention_layer": method["layers"] != "chosen",
        "neutral_question": method["neutral_question"] != OF_THE_VLM,
    }
    return {name: value for name, value in sections["vlm"].items() if not unused.get(name)}


# --- Names and shards ---


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of a shard "i/n", counted from 1.

    Raises:
        InputError: for another format, or i outside 1 .. n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"shard is '{text}': use i/n with i from 1 to n, for example shard=1/8.")

    return int(match[1]), int(match[2])


def check_name(option: str, name: str) -> None:
    """Refuse a name that is no plain name of a folder.

    Raises:
        InputError: naming the option.
    """
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name):
        raise InputError(
            f"{option} is '{name}': it names a folder, so use letters, "
            "digits, and any of . _ + = - (at most 100)."
        )
