"""Where checkpoints and data lie when they were fetched ahead, for many of them at once."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.data_files import is_local
from entropy_grounding.core.errors import InputError
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.weights import weights_folder

# Options that are true of one checkpoint or one data set, so they cannot be said of several.
OF_ONE_VLM = ("name", "weights", "revision", "attention_layer")
OF_ONE_BENCHMARK = ("name", "kind", "path", "config", "revision", "images", "boxes", "rows_in")


def local_weights(vlm: VLMConfig, folder: str | None) -> VLMConfig:
    """Return a VLM whose hub id is replaced by its copy in a folder.

    Args:
        vlm: the VLM; weights that lie on this machine stay as they are.
        folder: holds the copies, as ORG/NAME or NAME; None for none.

    Raises:
        InputError: for a checkpoint without a copy there.
    """
    on_hub = weights_folder(vlm.weights) is None and not vlm.weights.startswith("tiny:")
    if folder is None or not on_hub:
        return vlm

    return replace(vlm, weights=str(_copy_of(vlm.weights, folder, "weights_dir")))


def local_data(benchmark: BenchmarkConfig, folder: str | None) -> BenchmarkConfig:
    """Return a benchmark whose hub ids are replaced by their copies in a folder.

    Boxes without a copy stay as they are: a local data set does without them (`boxes_note`).

    Args:
        benchmark: the benchmark; data that lie on this machine stay as they are.
        folder: holds the copies, as ORG/NAME or NAME; None for none.

    Raises:
        InputError: for a data set without a copy there.
    """
    if folder is None or is_local(benchmark.path):
        return benchmark

    copy = _copy_of(benchmark.path, folder, "data_dir")
    boxes = benchmark.boxes
    if boxes and not is_local(boxes):
        boxes = str(_found(boxes, folder) or boxes)
    return replace(benchmark, path=str(copy), boxes=boxes)


def _copy_of(hub_id: str, folder: str, option: str) -> Path:
    copy = _found(hub_id, folder)
    if copy is None:
        kind = "model" if option == "weights_dir" else "dataset"
        raise InputError(
            f"{option} '{folder}' holds neither {hub_id} nor {hub_id.rpartition('/')[2]}: fetch it "
            f"with 'hf download --repo-type {kind} {hub_id} --local-dir {folder}/{hub_id}', or "
            f"leave {option} out."
        )
    return copy


def _found(hub_id: str, folder: str) -> Path | None:
    """Return the copy of a hub repository in a folder, None if there is none."""
    for name in (hub_id, hub_id.rpartition("/")[2]):
        if (Path(folder) / name).is_dir():
            return Path(folder) / name
    return None


def check_of_one(overrides: Sequence[str], vlms: Sequence[str], benchmarks: Sequence[str]) -> None:
    """Refuse overrides that are true of one VLM or benchmark where several are chosen.

    Raises:
        InputError: naming the override and what to use instead.
    """
    several = (
        ("vlm", OF_ONE_VLM, vlms, "weights_dir=FOLDER"),
        ("benchmark", OF_ONE_BENCHMARK, benchmarks, "data_dir=FOLDER"),
    )
    for section, names, chosen, instead in several:
        for override in overrides:
            key, _, value = override.partition("=")
            wrong = key in {f"{section}.{name}" for name in names} and value != "null"
            if wrong and len(chosen) > 1:
                raise InputError(
                    f"'{override}' would count for all of {', '.join(chosen)}: choose one with "
                    f"{section}=NAME, or name a folder with a copy of each, {instead}."
                )
