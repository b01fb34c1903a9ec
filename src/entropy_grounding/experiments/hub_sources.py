"""Which files of the hub a checkpoint and a benchmark are: one list, to count them and to fetch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import hub_files, hub_names, is_local, local_files
from entropy_grounding.benchmarks.evidence import VSTAR, VSTAR_QUESTIONS, vstar_folder
from entropy_grounding.benchmarks.sources import of_boxes
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.weights import (
    check_folder,
    checked_folder,
    checkpoint_files,
    weights_folder,
)


@dataclass(frozen=True)
class HubSource:
    """A hub repository, and those of its files that a run reads.

    Attributes:
        what: "weights", "data", "images" or "boxes".
        id: on the hub.
        revision: commit, tag or branch.
        kind: "model" or "dataset".
        names: returns the paths of the files at a commit, from the hub.
        present: returns the files in a folder of the local cache, or raises an `InputError` where
            some are missing.
        fetch: brings what is missing into the local cache, and returns the files.
    """

    what: str
    id: str
    revision: str | None
    kind: str
    names: Callable[[str], Sequence[str]]
    present: Callable[[Path], Sequence[Path]]
    fetch: Callable[[], Sequence[Path]]


def vlm_sources(config: VLMConfig) -> list[HubSource]:
    """Return where a checkpoint comes from; nothing for weights that need no hub."""
    weights = config.weights
    if weights.startswith("tiny:") or weights_folder(weights) is not None:
        return []

    def names(commit: str) -> list[str]:
        return checkpoint_files(HfApi().list_repo_files(weights, revision=commit))

    def present(folder: Path) -> list[Path]:
        check_folder(folder)
        return [folder / name for name in checkpoint_files(path.name for path in folder.iterdir())]

    def fetch() -> list[Path]:
        return present(checked_folder(config))

    return [HubSource("weights", weights, config.revision, "model", names, present, fetch)]


def benchmark_sources(config: BenchmarkConfig) -> list[HubSource]:
    """Return where a benchmark comes from: rows, images that lie apart, and evidence boxes."""
    if is_local(config.path):
        return []

    parts = [_split("data", config, config.config)]
    if config.images and not is_local(config.images):
        parts.append(_split("images", config, config.images))
    if config.boxes and not is_local(config.boxes):
        parts.append(_boxes(config))
    return parts


def _split(what: str, config: BenchmarkConfig, name: str | None) -> HubSource:
    """Return the parquet files of one configuration and split."""
    path = config.path
    return HubSource(
        what,
        path,
        config.revision,
        "dataset",
        names=lambda commit: hub_names(path, config, name),
        present=lambda folder: local_files(str(folder), config.split, name),
        fetch=lambda: hub_files(path, config, name),
    )


def _boxes(config: BenchmarkConfig) -> HubSource:
    """Return the files with evidence boxes."""
    if config.boxes != VSTAR:
        return _split("boxes", of_boxes(config), None)

    def names(commit: str) -> list[str]:
        files = HfApi().list_repo_files(VSTAR, revision=commit, repo_type="dataset")
        return [file for file in files if file.endswith((".json", VSTAR_QUESTIONS))]

    def present(folder: Path) -> list[Path]:
        return sorted([*folder.glob("*.jsonl"), *folder.rglob("*.json")])

    return HubSource(
        "boxes", VSTAR, None, "dataset", names, present, fetch=lambda: present(vstar_folder())
    )
