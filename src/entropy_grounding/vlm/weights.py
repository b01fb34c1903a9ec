"""What weights are, by their content: the same files have the same identity wherever they lie."""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.utils.checkpoint
from transformers import AutoModelForImageTextToText, PreTrainedConfig

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import file_digest, hub_commit
from entropy_grounding.core.paths import PACKAGE
from entropy_grounding.vlm.config import VLMConfig


def model_type_of(weights: str) -> str:
    """Return the model type that the configuration of local weights names, "" for a hub id."""
    folder = weights_folder(weights)
    described = folder / "config.json" if folder else None
    return (
        json.loads(described.read_text()).get("model_type", "")
        if described and described.is_file()
        else ""
    )


def map_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return how many bytes a map's graph keeps for each position: 56 a layer and hidden unit in float32, 32 in half precision.

    Measured on small models, without checkpointing.
    """
    text = config.get_text_config()
    return (56 if dtype == torch.float32 else 32) * text.hidden_size * text.num_hidden_layers


LARGE = 2.0  # gigabytes of weights from which a CPU is worth a warning
_POINTER = b"version https://git-lfs"  # what git leaves in place of a large file
_NEEDED = ("config.json", "tokenizer.json", ("processor_config.json", "preprocessor_config.json"))


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated memory in gigabytes (1e9 bytes): of the weights, and of the activations that a map keeps for 1,000 visual tokens."""

    weights: float
    map_per_1000_tokens: float


def estimate_memory(config: PreTrainedConfig, dtype: torch.dtype) -> Memory:
    """Estimate what a model of this configuration needs, without its weights (built on the meta device)."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Memory(parameters * dtype.itemsize / 1e9, 1000 * map_bytes(config, dtype) / 1e9)


def warn_of_large_models(loaded: PreTrainedConfig, config: VLMConfig) -> None:
    """Say what a model of billions of weights costs on a CPU, before it is loaded."""
    dtype: Any = (
        getattr(torch, config.dtype) if config.dtype != "auto" else loaded.dtype or torch.float32
    )
    need = estimate_memory(loaded, dtype)
    if need.weights > LARGE:
        free = psutil.virtual_memory().available / 1e9
        warnings.warn(
            f"'{config.name}' runs on the CPU: about {need.weights:.0f} GB of weights in {str(dtype).removeprefix('torch.')} and "
            f"{need.map_per_1000_tokens:.1f} GB per 1,000 visual tokens of a map, with {free:.0f} GB free; expect minutes for one map. "
            "A GPU (vlm.device=cuda) or vlm=tiny_llava is faster.",
            stacklevel=4,
        )


def checked_source(config: VLMConfig) -> tuple[str, str | None]:
    """Return the checked local folder that a configuration names, or the hub id with its commit."""
    weights = config.weights
    folder = weights_folder(weights)
    if folder is not None:
        _check_folder(folder)
        if weights.startswith("tiny:"):
            check_released(folder)
        return str(folder), None

    if weights.startswith("tiny:"):
        have = ", ".join(f"tiny:{each.name}" for each in sorted(TINY.glob("*")) if each.is_dir())
        raise InputError(f"No tiny weights '{weights}': this repository has {have or 'none'}.")
    if weights.startswith((".", "/", "~")) or Path(weights).expanduser().exists():
        raise InputError(f"No weights folder at '{weights}': check the path (vlm.weights=...).")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", weights):
        raise InputError(
            f"'{weights}' is neither a folder nor a hub id (OWNER/NAME): check vlm.weights."
        )

    return weights, hub_commit(weights, config.revision, kind="model")


def check_released(folder: Path) -> None:
    """Refuse weights of this repository of which a byte differs from what was released.

    Raises:
        InputError: naming the file.
    """
    for line in (TINY / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(f"{folder.name}/") and file_digest(TINY / name) != digest:
            raise InputError(
                f"The file '{TINY / name}' is not the one that was released (its SHA-256 differs): restore it with git, or install again."
            )


def _check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a file, or holds a stand-in for one."""
    for needed in _NEEDED:
        names = (needed,) if isinstance(needed, str) else needed
        if not any((folder / name).is_file() for name in names):
            raise InputError(
                f"The weights folder '{folder}' has no {' or '.join(names)}: save model and processor with save_pretrained."
            )

    for path in weight_files(folder):
        if not path.is_file():
            pickled = (
                "; pickled weights (.bin, .pt) are not read" if any(folder.glob("*.bin")) else ""
            )
            raise InputError(
                f"The weights folder '{folder}' has no {path.name}: copy it there, or download the checkpoint again{pickled}."
            )
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise InputError(
                    f"The file '{path}' is a git-lfs pointer, not the weights: run 'git lfs pull' in its folder."
                )


TINY = PACKAGE / "tiny" / "weights"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

# The small files of a checkpoint that can change an answer; what else lies in a folder cannot.
SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
)
_WRITER_KEYS = ("transformers_version", "_name_or_path")  # who wrote a file, not what it says


def weights_folder(weights: str) -> Path | None:
    """Return the local folder that ``weights`` names, None for a hub id."""
    tiny = weights.startswith("tiny:")
    folder = TINY / weights.removeprefix("tiny:") if tiny else Path(weights).expanduser()

    return folder if folder.is_dir() else None


def weights_identities(weights: str, revision: str | None = None) -> dict[str, str]:
    """Return what identifies a checkpoint, for the config hash.

    ``weights`` is the SHA-256 of the weights of a local folder, over all its files, or the commit of a
    hub checkpoint. ``files`` is the SHA-256 of a folder's small files (`SMALL_FILES`); it is left out
    where they equal those of a tiny VLM of this repository, whose weights identify them.

    Args:
        weights: a hub id, a local folder, or ``tiny:FAMILY``.
        revision: commit, tag or branch on the hub.

    Raises:
        InputError: for a folder without weights, and for a hub id whose commit cannot be found out.
    """
    folder = weights_folder(weights)
    if folder is None:
        return {"weights": hub_commit(weights, revision, kind="model")}

    files = _files_digest(folder)
    known = {_files_digest(each) for each in TINY.iterdir() if each.is_dir()}
    found = {"weights": _weights_digest(folder)}

    return found if files in known else {**found, "files": files}


def short_identity(manifest: Mapping[str, Any]) -> str:
    """Return the first twelve characters of the weights' identity in a manifest, for tables and tags."""
    return str(manifest["weights_sha256"])[:12]


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a checkpoint: those that its index names, or the single one.

    Raises:
        InputError: for an index that names none, or that names something else than safetensors.
    """
    index = folder / INDEX
    if not index.is_file():
        return [folder / SINGLE]

    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The index '{index}' cannot be read ({error!r}): download the checkpoint again."
        ) from error

    wrong = [str(name) for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", str(name))]
    if wrong or not names:
        named = wrong[0] if wrong else "no file"
        raise InputError(
            f"The index '{index}' names {named}: only safetensors files in its own folder are loaded; download it again."
        )

    return [folder / name for name in names]


def _weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weight file, or of the digests of several in the order of their names."""
    digests = [file_digest(path) for path in weight_files(folder)]

    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _files_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's small files: of their values where they are JSON, else of their bytes."""
    digest = hashlib.sha256()

    for name in SMALL_FILES:
        path = folder / name
        if path.is_file():
            digest.update(
                f"{name}:{_content(path, path.stat().st_size, path.stat().st_mtime_ns)}\n".encode()
            )

    return digest.hexdigest()


@cache
def _content(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a small file, without what only says who wrote it."""
    content = path.read_bytes()

    try:
        values = json.loads(content)
    except ValueError:
        return hashlib.sha256(content).hexdigest()

    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in _WRITER_KEYS}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
