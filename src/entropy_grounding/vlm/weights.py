"""The files of a checkpoint: where they lie, whether they are complete, and what identifies them.

Identities come from contents: the same files have the same identity wherever they lie.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoConfig

from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.identity import file_digest, hub_commit
from entropy_grounding.core.paths import PACKAGE
from entropy_grounding.vlm.config import VLMConfig

TINY = PACKAGE / "tiny" / "weights"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"

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
_NEEDED = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",  # names the special tokens; without it, answers would differ silently
    ("processor_config.json", "preprocessor_config.json"),
)
_WRITER_KEYS = ("transformers_version", "_name_or_path")  # who wrote a file, not what it says
_POINTER = b"version https://git-lfs"  # what git leaves in place of a large file


# --- Where they lie ---


def weights_folder(weights: str) -> Path | None:
    """Return the local folder that ``weights`` names, None for a hub id."""
    if weights.startswith("tiny:"):
        folder = TINY / weights.removeprefix("tiny:")
    else:
        folder = Path(weights).expanduser()

    return folder if folder.is_dir() else None


def model_type_of(weights: str) -> str:
    """Return the model type that the configuration of local weights names, "" for a hub id."""
    folder = weights_folder(weights)
    if folder is None or not (folder / "config.json").is_file():
        return ""

    return json.loads((folder / "config.json").read_text()).get("model_type", "")


def layer_count(config: VLMConfig) -> int | None:
    """Return how many decoder layers the language model has; None if that is not known here.

    A preset says it, under its own name; a local folder has a configuration. Nothing is fetched.
    """
    if config.name == config.expects.name:
        return config.expects.layers or None

    folder = weights_folder(config.weights)
    if folder is None or not (folder / "config.json").is_file():
        return None

    about = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return int(about.get_text_config().num_hidden_layers)


def checked_source(config: VLMConfig) -> tuple[str, str | None]:
    """Return the local folder that a configuration names, or the hub id with its commit.

    Raises:
        InputError: for a folder that is missing or incomplete, and for a text that names nothing.
    """
    weights = config.weights
    folder = weights_folder(weights)
    if folder is not None:
        check_folder(folder)
        if weights.startswith("tiny:"):
            check_released(folder)
        return str(folder), None

    if weights.startswith("tiny:"):
        have = ", ".join(f"tiny:{path.name}" for path in _tiny_folders())
        raise InputError(f"No tiny weights '{weights}': this repository has {have or 'none'}.")
    if weights.startswith((".", "/", "~")) or Path(weights).expanduser().exists():
        raise InputError(f"No weights folder at '{weights}': check the path (vlm.weights=...).")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", weights):
        raise InputError(
            f"'{weights}' is neither a folder nor a hub id (OWNER/NAME): check vlm.weights."
        )

    return weights, hub_commit(weights, config.revision, kind="model")


def checked_folder(config: VLMConfig) -> Path:
    """Return the folder with the files of a checkpoint, which are all there and whole.

    A checkpoint on the hub is fetched into the hub's cache first, as far as it is not there.

    Raises:
        InputError: as `checked_source`, and for what the hub refuses.
    """
    source, commit = checked_source(config)
    if commit is None:
        return Path(source)

    folder = hub_folder(source, commit)
    check_folder(folder)
    return folder


def hub_folder(weights: str, commit: str) -> Path:
    """Return the folder of the hub's cache with the files of a checkpoint at a commit.

    What is not there is fetched, and nothing else than `checkpoint_files`. Without a network
    the folder may lack some.

    Raises:
        InputError: naming what the hub refuses, and the remedy.
    """
    wanted = [*SMALL_FILES, INDEX, SINGLE, SHARDS]
    try:
        # A copy that is whole is taken without asking the hub, and without a bar.
        with suppress(LocalEntryNotFoundError, InputError):
            folder = Path(
                snapshot_download(
                    weights, revision=commit, allow_patterns=wanted, local_files_only=True
                )
            )
            check_folder(folder)
            return folder
        return Path(snapshot_download(weights, revision=commit, allow_patterns=wanted))
    except Exception as error:  # of the hub, the network, the disk: too many kinds to list
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        advice = machine_remedy(error) or (
            "Run the same command again where the hub can be reached, what was fetched is kept; or "
            f"fetch it ahead with 'hf download {weights} --local-dir FOLDER', and pass "
            "vlm.weights=FOLDER"
        )
        raise InputError(f"Could not fetch '{weights}' ({reason}). {advice}.") from error


def _tiny_folders() -> list[Path]:
    return sorted(path for path in TINY.glob("*") if path.is_dir())


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a checkpoint: those that its index names, or the single one.

    Raises:
        InputError: for an index that names none, or that names other files than safetensors.
    """
    index = folder / INDEX
    if not index.is_file():
        return [folder / SINGLE]

    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The index '{index}' cannot be read ({error!r}): {_again(index)}."
        ) from error

    wrong = [str(name) for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", str(name))]
    if wrong or not names:
        named = wrong[0] if wrong else "no file"
        raise InputError(
            f"The index '{index}' names {named}: "
            "only safetensors files in its own folder are loaded; download it again."
        )
    return [folder / name for name in names]


def checkpoint_files(names: Iterable[str]) -> list[str]:
    """Return which files of a repository are those of a checkpoint: weights and small files."""
    weights = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
    return sorted(
        name for name in names if name in (*SMALL_FILES, INDEX) or weights.fullmatch(name)
    )


# --- Whether they are complete ---


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a file, or holds a stand-in for one."""
    for needed in _NEEDED:
        names = (needed,) if isinstance(needed, str) else needed
        if not any((folder / name).is_file() for name in names):
            raise InputError(
                f"The weights folder '{folder}' has no {' or '.join(names)}: download it from the "
                "checkpoint, or save model and processor with save_pretrained."
            )

    for name in SMALL_FILES:
        if (folder / name).is_file():
            _check_small_file(folder / name)
    _check_picture_settings(folder)

    for path in weight_files(folder):
        _check_weights(path)


def _check_small_file(path: Path) -> None:
    """Refuse a pointer to a small file, and a JSON file that is cut off or damaged."""
    content = path.read_bytes()
    if content.startswith(_POINTER):
        raise _pointer(path)
    if path.suffix != ".json":
        return

    try:
        json.loads(content)
    except ValueError as error:
        raise InputError(
            f"The file '{path}' is damaged or cut off ({error}): {_again(path)}."
        ) from error


def _check_picture_settings(folder: Path) -> None:
    """Refuse a folder in which no file says how pictures are processed."""
    settings = folder / "processor_config.json"
    if (folder / "preprocessor_config.json").is_file():
        return
    if "image_processor" in json.loads(settings.read_bytes()):
        return

    raise InputError(
        f"The weights folder '{folder}' has no preprocessor_config.json, and its "
        f"{settings.name} does not say how pictures are processed: download "
        "preprocessor_config.json from the checkpoint."
    )


def _check_weights(path: Path) -> None:
    """Refuse a weight file that is missing, a pointer to one, or cut off."""
    if not path.is_file():
        raise InputError(
            f"The weights folder '{path.parent}' has no {path.name}: {_advice_for_missing(path)}."
        )

    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(len(_POINTER), 8))
        if start.startswith(_POINTER):
            raise _pointer(path)

        # A safetensors file: the length of its header, the header, the tensors.
        header = int.from_bytes(start[:8], "little")
        whole = 8 + header
        if whole <= size:
            file.seek(8)
            whole += _tensor_bytes(path, file.read(header))

    if size != whole or size <= 8:
        raise InputError(
            f"The file '{path}' is cut off or damaged (it has {size:,} bytes, and its header "
            f"says {whole:,}): {_again(path)}."
        )


def _tensor_bytes(path: Path, header: bytes) -> int:
    """Return how many bytes the tensors of a safetensors file have, by its header.

    Raises:
        InputError: for a header that cannot be read.
    """
    try:
        about = json.loads(header)
        ends = [value["data_offsets"][1] for name, value in about.items() if name[:2] != "__"]
        return int(max(ends, default=0))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"The header of '{path}' cannot be read ({error!r}): {_again(path)}."
        ) from error


def _again(path: Path) -> str:
    """Return the remedy for a damaged file; the hub's cache keeps a file behind a link to it."""
    if path.is_symlink():
        return f"delete '{path.resolve()}', and the same command fetches it again"
    return "download it again"


def _advice_for_missing(path: Path) -> str:
    """Return the remedy for a weight file that is not there."""
    folder = path.parent
    shards = sorted(each.name for each in folder.glob(SHARDS))

    if path.name == SINGLE and shards:
        return f"it has {shards[0]}, so its {INDEX} is missing: download that file too"
    if path.name == SINGLE and any(folder.glob("*.bin")):
        return "pickled weights (.bin, .pt) are not read; take a checkpoint with safetensors files"
    if path.name == SINGLE:
        return "copy it there, or download the checkpoint again"
    return f"{INDEX} names it, so the download is not complete; the same download command resumes"


def _pointer(path: Path) -> InputError:
    return InputError(
        f"The file '{path}' is a git-lfs pointer, not its content: run 'git lfs pull' in its "
        "folder, or download the file."
    )


def check_released(folder: Path) -> None:
    """Refuse weights of this repository of which a byte differs from what was released.

    Raises:
        InputError: naming the file.
    """
    for line in (TINY / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(f"{folder.name}/") and file_digest(TINY / name) != digest:
            raise InputError(
                f"The file '{TINY / name}' is not the one that was released "
                "(its SHA-256 differs): restore it with git, or install again."
            )


# --- What identifies them ---


def weights_identities(weights: str, revision: str | None = None) -> dict[str, str]:
    """Return what identifies a checkpoint, for the config hash.

    ``weights`` is the SHA-256 of the weights of a local folder, over all its files, or the commit
    of a hub checkpoint. ``files`` is the SHA-256 of a folder's small files (`SMALL_FILES`). It is
    left out if they equal those of a tiny VLM of this repository, whose weights identify them.

    Args:
        weights: a hub id, a local folder, or ``tiny:FAMILY``.
        revision: commit, tag or branch on the hub.

    Raises:
        InputError: for a folder without weights, and for a hub id whose commit cannot be found out.
    """
    folder = weights_folder(weights)
    if folder is None:
        return {"weights": hub_commit(weights, revision, kind="model")}

    identities = {"weights": _weights_digest(folder)}
    files = _files_digest(folder)
    if files not in {_files_digest(path) for path in _tiny_folders()}:
        identities["files"] = files
    return identities


def short_identity(manifest: Mapping[str, Any]) -> str:
    """Return the first twelve characters of the weights' identity, for tables and tags."""
    return str(manifest["weights_sha256"])[:12]


def _weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weight file, or of the digests of several in name order."""
    digests = [file_digest(path) for path in weight_files(folder)]
    if len(digests) == 1:
        return digests[0]

    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _files_digest(folder: Path) -> str:
    """Return the SHA-256 of a folder's small files.

    JSON files count by their values, others by their bytes.
    """
    digest = hashlib.sha256()
    for name in SMALL_FILES:
        path = folder / name
        if path.is_file():
            about = path.stat()
            content = _content(path, about.st_size, about.st_mtime_ns)
            digest.update(f"{name}:{content}\n".encode())

    return digest.hexdigest()


@cache
def _content(path: Path, size: int, changed: int) -> str:
    """Return the SHA-256 of a small file, without the keys that only say who wrote it.

    Size and time of the last change are part of the cache's key.
    """
    content = path.read_bytes()
    try:
        values = json.loads(content)
    except ValueError:
        return hashlib.sha256(content).hexdigest()

    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if name not in _WRITER_KEYS}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
