"""Whether an evaluation can run here, found out before any weights are loaded.

Every check is a finding: what is there, and the remedy where something is wrong.
"""

import math
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import torch
from huggingface_hub import constants
from transformers.utils import is_flash_attn_2_available

from entropy_grounding.benchmarks.base import Unusable, check_evidence
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import rows_files
from entropy_grounding.benchmarks.load import boxes_note, load_benchmark
from entropy_grounding.core.environment import differences, package_versions
from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.evaluation.config import EvaluateConfig, fingerprint, results_folder
from entropy_grounding.evaluation.coverage import coverage
from entropy_grounding.evaluation.files import MANIFEST
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.experiments.downloads import Download, download
from entropy_grounding.experiments.estimate import (
    Estimate,
    example_count,
    measured_gigabytes,
    seconds_each,
)
from entropy_grounding.experiments.hub_sources import benchmark_sources, vlm_sources
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import (
    Checkpoint,
    check_options,
    device_of,
    open_checkpoint,
    quantization_of,
)
from entropy_grounding.vlm.memory import (
    PICTURE,
    Loop,
    MemoryNeed,
    dtype_of,
    fitting,
    free_bytes,
    memory_need,
)
from entropy_grounding.vlm.weights import checked_source

# Sizes (width, height) in pixels of a large picture; other benchmarks have photographs.
LARGE_PICTURES = {"docvqa": (1700, 2200), "infovqa": (1000, 3000), "vstar": (2250, 1500)}
ROOM = 0.5  # gigabytes that the results folder should have
SPARE = 0.5  # gigabytes that a map may take beyond what is computed (docs/real_checkpoints.md)
MEASURED = 3  # questions that `measured_seconds` answers


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        name: what was looked at.
        value: what is there.
        remedy: what is wrong and what to do; empty where nothing is wrong.
        looked: whether it was looked at; False where an earlier check stands in the way.
    """

    name: str
    value: str
    remedy: str = ""
    looked: bool = True


# What is not looked at where an earlier check found something wrong.
_NEEDS = {
    "processor": ("weights",),
    "memory": ("device", "weights", "processor"),
    "disk": ("weights", "data"),
    "results": ("device", "weights", "data"),
}


class Doctor:
    """Examines evaluations; what several of them share is looked at once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, object], Finding] = {}
        self._checkpoints: dict[VLMConfig, Checkpoint] = {}
        self._gigabytes: dict[tuple[VLMConfig, Loop], float] = {}
        self._bytes: dict[tuple[VLMConfig, BenchmarkConfig], float] = {}

    def examine(self, config: EvaluateConfig, *, measure: bool = False) -> Iterator[Finding]:
        """Yield a finding for everything that an evaluation needs, in the order of a run.

        Args:
            config: of the evaluation, with the options of other sections filled in (`resolved`).
            measure: load the model, and answer three questions to find out the time of one.
        """
        wrong: list[str] = []
        for name, shared, check in self._checks(config, measure):
            needs = list(wrong) if measure and name == "time" else _NEEDS.get(name, ())
            before = [need for need in needs if need in wrong]
            if before:
                yield Finding(name, f"needs {', '.join(before)}", looked=False)
                continue

            found = self._found.get((name, shared)) or _finding(name, check)
            self._found[name, shared] = found
            if found.remedy:
                wrong.append(name)
            yield found

    def checkpoint(self, config: VLMConfig) -> Checkpoint:
        """Return configuration and processor of a checkpoint, which are read once."""
        if config not in self._checkpoints:
            self._checkpoints[config] = open_checkpoint(config)
        return self._checkpoints[config]

    def gigabytes(self, config: EvaluateConfig) -> float:
        """Return the memory without which an evaluation ends; NaN where it is not known."""
        key = config.vlm, loop_of(config)
        if key not in self._gigabytes:
            try:
                need = need_of(config, self.checkpoint(config.vlm))
                self._gigabytes[key] = _needed(need, config)
            except Exception:  # without the small files; `examine` says why
                self._gigabytes[key] = measured_gigabytes(config.vlm.name)
        return self._gigabytes[key]

    def bytes_to_fetch(self, config: EvaluateConfig) -> float:
        """Return the bytes that an evaluation has to fetch; NaN where the hub does not answer."""
        key = config.vlm, config.benchmark
        if key not in self._bytes:
            try:
                self._bytes[key] = _missing_bytes(config)
            except InputError:
                self._bytes[key] = math.nan
        return self._bytes[key]

    def _checks(
        self, config: EvaluateConfig, measure: bool
    ) -> list[tuple[str, object, Callable[[], Finding]]]:
        """Return every check: its name, what its result depends on, and the check."""
        vlm, data = config.vlm, config.benchmark
        return [
            ("versions", None, _versions),
            ("device", vlm, lambda: _device(vlm)),
            ("weights", vlm, lambda: _weights(vlm)),
            ("processor", vlm, lambda: _processor(self.checkpoint(vlm))),
            ("memory", (vlm, loop_of(config)), lambda: _memory(config, self.checkpoint(vlm))),
            ("data", data, lambda: _data(data)),
            ("boxes", (data, config.method.crops), lambda: _boxes(config)),
            ("disk", (vlm, data, config.results_dir), lambda: _disk(config)),
            ("results", config, lambda: _results(config)),
            ("W&B", config.tracking, lambda: _tracking(config.tracking)),
            ("time", config, lambda: _time(config, measure=measure)),
        ]


def check_all(configs: Iterable[EvaluateConfig]) -> int:
    """Examine the evaluations of an experiment, the largest loop of every VLM and benchmark.

    Returns:
        How many VLMs and benchmarks were examined.

    Raises:
        InputError: with every remedy, where some of them cannot run.
    """
    largest: dict[tuple[str, str], EvaluateConfig] = {}
    for config in configs:
        cell = config.vlm.name, config.benchmark.name
        if cell not in largest or _size(config) > _size(largest[cell]):
            largest[cell] = config

    doctor = Doctor()
    remedies: dict[str, str] = {}
    for (vlm, benchmark), config in largest.items():
        for found in doctor.examine(config):
            if found.remedy:
                remedies.setdefault(f"{found.name}: {found.remedy}", f"{vlm} {benchmark}")
    if remedies:
        lines = [f"{cell}: {remedy}" for remedy, cell in remedies.items()]
        raise InputError("\n  ".join(["no-go (--no-doctor starts all the same):", *lines]))
    return len(largest)


def _size(config: EvaluateConfig) -> tuple[int, int]:
    loop = loop_of(config)
    return loop.crops, loop.rounds


def _finding(name: str, check: Callable[[], Finding]) -> Finding:
    """Make a check; whatever it raises is what is wrong."""
    try:
        return check()
    except InputError as error:
        return Finding(name, "", str(error))
    except Exception as error:  # of the hub, a disk, a library: too many kinds to list
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(".")
        advice = machine_remedy(error) or "HYDRA_FULL_ERROR=1 and the command itself show more"
        return Finding(name, "", f"{reason}. {advice}.")


# --- The machine ---


def _versions() -> Finding:
    """Name the versions of what answers."""
    known = package_versions()
    named = [f"{name} {known[name]}" for name in ("torch", "transformers", "datasets", "pillow")]
    return Finding("versions", ", ".join([*named, f"Python {platform.python_version()}"]))


def _device(config: VLMConfig) -> Finding:
    """Check the device, the attention kernel and the quantization."""
    check_options(config)
    device = device_of(config)
    quantization_of(config, device)

    if config.attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise InputError(
            "vlm.attention is 'flash_attention_2', and flash-attn is not installed: use "
            "vlm.attention=sdpa."
        )

    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    free = free_bytes(device) / 1e9
    return Finding("device", f"{card}, {free:.1f} GB free, attention {config.attention}")


# --- The checkpoint ---


def _weights(config: VLMConfig) -> Finding:
    """Check that the files of the checkpoint are here and whole, or can be fetched."""
    checked_source(config)
    found = [_shown(download(source)) for source in vlm_sources(config)]
    return Finding("weights", found[0] if found else f"{config.weights}: complete")


def _processor(checkpoint: Checkpoint) -> Finding:
    """Name chat template and special tokens; they were checked when the processor was read."""
    tokenizer = checkpoint.processor.tokenizer
    named = []
    for name in ("bos", "eos", "pad"):
        token = getattr(tokenizer, f"{name}_token", None)
        named.append(f"{name} {token or 'none'}")

    image = f"image {checkpoint.processor.image_token} ({checkpoint.config.image_token_id})"
    return Finding("processor", f"chat template; tokens: {', '.join([*named, image])}")


def loop_of(config: EvaluateConfig) -> Loop:
    """Return the largest loop of an evaluation: a large picture, and the crops of a round."""
    rounds = config.method.stopping.max_rounds
    zooms = rounds > 0 or config.method.crops != "found"

    return Loop(
        picture=LARGE_PICTURES.get(config.benchmark.kind, PICTURE),
        crops=config.method.regions.max_regions if zooms else 0,
        rounds=rounds,
    )


def need_of(config: EvaluateConfig, checkpoint: Checkpoint) -> MemoryNeed:
    """Compute the memory of the largest prompt of an evaluation."""
    return memory_need(
        checkpoint.config,
        checkpoint.processor,
        checkpoint.family,
        dtype_of(checkpoint.config, config.vlm),
        loop_of(config),
        quantization=config.vlm.quantization,
        kernel=config.vlm.attention,
    )


def _needed(need: MemoryNeed, config: EvaluateConfig) -> float:
    """Return the gigabytes without which an evaluation ends."""
    # "auto" checkpoints where the map does not fit.
    if config.vlm.checkpointing == "off":
        return need.weights + need.map + need.caches
    return need.least


def _memory(config: EvaluateConfig, checkpoint: Checkpoint) -> Finding:
    """Compare what the largest prompt needs with what is free."""
    need, free = need_of(config, checkpoint), _free(config.vlm)
    free -= SPARE * (device_of(config.vlm).type == "cuda")
    value = (
        f"{need.weights:.1f} GB weights, map of {need.positions:,} positions {need.map:.1f} GB "
        f"({need.checkpointed_map:.1f} GB checkpointed), keys and values {need.caches:.1f} GB; "
        f"{free:.1f} GB free"
    )
    least = _needed(need, config)
    if least <= free:
        return Finding("memory", value)

    dtype = dtype_of(checkpoint.config, config.vlm)
    fits = fitting(
        checkpoint.config, checkpoint.processor, checkpoint.family, dtype, free, loop_of(config)
    )
    advice = f"add {fits[0]}" if fits else "no option makes it fit: take a larger GPU"
    return Finding(
        "memory", value, f"It needs {least:.1f} GB, and {free:.1f} GB are free: {advice}."
    )


def _free(config: VLMConfig) -> float:
    """Return the gigabytes that a model can take; with a device map, on all GPUs together."""
    if config.device_map and torch.cuda.is_available():
        devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
        return sum(free_bytes(device) for device in devices) / 1e9
    return free_bytes(device_of(config)) / 1e9


# --- The data ---


def _data(config: BenchmarkConfig) -> Finding:
    """Check columns and the first example of data that are here; else name what is to fetch."""
    downloads = [download(source) for source in benchmark_sources(config)]
    if any(each.missing for each in downloads):
        named = "; ".join(map(_shown, downloads))
        return Finding("data", f"{named}; columns are checked when it is here")

    loaded = load_benchmark(config)
    first = next(iter(loaded))
    if isinstance(first, Unusable):
        raise InputError(
            f"The first example of '{config.path}' cannot be used ({first.reason}): check its "
            "columns, or fetch the data again."
        )
    columns = ", ".join(loaded.benchmark.columns)
    return Finding("data", f"{config.path}: {_row_count(config)}, columns {columns}")


def _row_count(config: BenchmarkConfig) -> str:
    """Return how many rows the split has, as text."""
    if config.path.startswith("miniature:"):
        return "drawn rows"

    files = rows_files(config.path, config, config.config)
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    return f"{rows:,} rows in {len(files)} files"


def _boxes(config: EvaluateConfig) -> Finding:
    """Say whether there are evidence boxes, and refuse an oracle without them."""
    note = boxes_note(config.benchmark)
    if note and config.method.crops.startswith("oracle"):
        check_evidence(load_benchmark(config.benchmark), config.method)
    return Finding("boxes", note or f"{config.benchmark.boxes or 'in the data'}")


# --- Places ---


def _disk(config: EvaluateConfig) -> Finding:
    """Compare what is to be fetched and written with the room there is."""
    missing = _missing_bytes(config) / 1e9
    cache = _room(Path(constants.HF_HUB_CACHE)) if missing else math.inf
    results = _room(Path(config.results_dir))

    value = f"{missing:.1f} GB to fetch"
    if missing:
        value += f" into {constants.HF_HUB_CACHE} ({cache:.1f} GB free)"
    value += f"; {results:.1f} GB free for results"
    if missing > cache:
        return Finding("disk", value, "Set HF_HOME to a folder of a larger disk.")
    if results < ROOM:
        return Finding("disk", value, "Choose results_dir on a disk with more room.")
    return Finding("disk", value)


def _missing_bytes(config: EvaluateConfig) -> float:
    """Return the bytes of weights and data that are not in the local cache."""
    sources = [*vlm_sources(config.vlm), *benchmark_sources(config.benchmark)]
    return float(sum(download(source).missing for source in sources))


def _room(folder: Path) -> float:
    """Return the free gigabytes of the disk of a folder, which may not exist yet."""
    present = folder.absolute()
    while not present.exists():
        present = present.parent
    return shutil.disk_usage(present).free / 1e9


def _results(config: EvaluateConfig) -> Finding:
    """Name folder and config hash, and refuse stored rows of another environment."""
    folder = results_folder(config)
    value = f"{folder}, config hash {fingerprint(config)}"
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return Finding("results", f"{value}, no rows yet")

    stored = read_manifest(manifest)
    here = {name: version for name, version in package_versions().items() if version}
    here["device"] = device_of(config.vlm).type
    changed = differences(stored.get("environment") or stored.get("versions") or {}, here)
    if changed:
        named = "; ".join(f"{name} was {old}, here {now}" for name, old, now in changed)
        raise InputError(
            f"The rows in '{folder}' were made in another environment ({named}): go on there, or "
            "choose another results_dir."
        )
    if stored.get("config_hash") != fingerprint(config):
        raise InputError(
            f"The rows in '{folder}' are of another configuration ({stored.get('config_hash')}): "
            "choose another results_dir or method_name."
        )

    have = coverage(folder, config.benchmark.examples)
    return Finding("results", f"{value}, {have.rows:,} rows are stored")


def _tracking(config: TrackingConfig) -> Finding:
    """Say where runs are logged; a missing login was refused with the options."""
    online = f"online, project {config.project}, logged in"
    return Finding("W&B", online if config.mode == "online" else config.mode)


# --- Time ---


def _time(config: EvaluateConfig, *, measure: bool) -> Finding:
    """Estimate the hours of all examples."""
    each = measured_seconds(config) if measure else seconds_each(config)
    count = example_count(config.benchmark)
    if math.isnan(each.seconds):
        return Finding("time", f"unknown ({each.source}): --measure answers {MEASURED} questions")

    said = f"{each.seconds:.2f} s per example ({each.source})"
    if count is None:
        return Finding("time", f"{said}; the number of examples is not known")
    return Finding("time", f"{each.seconds * count / 3600:.2f} h: {count:,} examples, {said}")


def measured_seconds(config: EvaluateConfig) -> Estimate:
    """Load the model and answer the first questions; the rows are thrown away.

    Returns:
        The median seconds of an example: the first one is slower.
    """
    with tempfile.TemporaryDirectory() as folder:
        few = replace(
            config,
            benchmark=replace(config.benchmark, examples=MEASURED),
            tracking=TrackingConfig(mode="disabled"),
            results_dir=folder,
        )
        rows = evaluate(few)
    answered = rows[rows["status"] == "ok"]
    if answered.empty:
        raise InputError(
            f"None of {len(rows)} questions was answered ({rows['reason'].iloc[0]}): mend that "
            "first."
        )
    return Estimate(float(answered["seconds"].median()), f"{len(answered)} questions, measured now")


def _shown(found: Download) -> str:
    """Return one line about the files of a repository."""
    here = "here" if not found.missing else f"{found.missing / 1e9:.2f} GB to fetch (eg fetch)"
    return f"{found.source} at {found.commit[:12]}: {found.files} files, {here}"
