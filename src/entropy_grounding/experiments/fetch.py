"""Bring the files of checkpoints and benchmarks to this machine ahead, as they will be read.

Runs read them from the cache of the hub then, also without a network.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import hub_files, is_local
from entropy_grounding.benchmarks.evidence import VSTAR, vstar_folder
from entropy_grounding.benchmarks.sources import of_boxes
from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.identity import hub_commit
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.weights import checked_folder, checkpoint_files, weights_folder


@dataclass(frozen=True)
class Fetched:
    """What of one VLM or benchmark lies on this machine.

    Attributes:
        name: of the VLM or benchmark.
        what: "weights", "data", "images" or "boxes".
        source: hub id or place.
        commit: on the hub; empty for what needs no hub.
        files: the files; none for what needs no hub.
    """

    name: str
    what: str
    source: str
    commit: str = ""
    files: tuple[Path, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.stat().st_size for file in self.files)


def fetch_vlm(config: VLMConfig) -> Fetched:
    """Fetch the files of a checkpoint: weights in safetensors, and the small files beside them.

    Raises:
        InputError: for what the hub refuses, and for a checkpoint that is not whole there or has
            no safetensors.
    """
    found = Fetched(config.name, "weights", config.weights)
    if config.weights.startswith("tiny:") or weights_folder(config.weights) is not None:
        return found

    folder = checked_folder(config)
    names = checkpoint_files(path.name for path in folder.iterdir())
    return replace(found, commit=folder.name, files=tuple(folder / name for name in names))


def fetch_benchmark(config: BenchmarkConfig) -> list[Fetched]:
    """Fetch the files of a benchmark's split: rows, images that lie apart, and evidence boxes.

    Raises:
        InputError: for what the hub refuses, and for data in another format than parquet.
    """
    if is_local(config.path):
        return [Fetched(config.name, "data", config.path)]

    found = [_split(config, "data", config.config)]
    if config.images and not is_local(config.images):
        found.append(_split(config, "images", config.images))
    if config.boxes and not is_local(config.boxes):
        found.append(_boxes(config))
    return found


def _split(config: BenchmarkConfig, what: str, name: str | None) -> Fetched:
    """Fetch the files of one configuration."""
    commit = hub_commit(config.path, config.revision, kind="dataset")
    files = _fetched(config.path, lambda: hub_files(config.path, config, name))
    if not files:
        raise InputError(
            f"'{config.path}' has no parquet files: fetch it with 'hf download --repo-type dataset "
            f"{config.path}'."
        )
    return Fetched(config.name, what, config.path, commit, tuple(files))


def _boxes(config: BenchmarkConfig) -> Fetched:
    """Fetch evidence boxes."""
    boxes = str(config.boxes)
    commit = hub_commit(boxes, None, kind="dataset")
    if boxes == VSTAR:
        folder = vstar_folder()
        files = [*folder.glob("*.jsonl"), *folder.rglob("*.json")]
    else:
        files = _fetched(boxes, lambda: hub_files(boxes, of_boxes(config), None))

    return Fetched(config.name, "boxes", boxes, commit, tuple(sorted(files)))


def _fetched(source: str, fetch: Callable[[], Iterable[Path]]) -> list[Path]:
    """Return what a function fetches; whatever goes wrong is one sentence.

    Raises:
        InputError: naming the source, the reason and the remedy.
    """
    try:
        return list(fetch())
    except InputError:
        raise
    except Exception as error:  # of the hub, the network, the disk: too many kinds to list
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        advice = machine_remedy(error) or (
            "Run the same command again where the hub can be reached; what was fetched is kept"
        )
        raise InputError(f"Could not fetch '{source}' ({reason}). {advice}.") from error
