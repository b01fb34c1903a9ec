"""Which files hold the rows of one configuration and split, in a folder and on the hub.

Only these files are fetched, read and identified: other splits may come and go beside them.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import hub_commit

MINIATURE = "miniature:"  # prefix of a path
CARD = "README.md"

# The split at the beginning of a file name, such as "test-00000-of-00001.parquet".
SPLIT = re.compile(r"(train|validation|val|dev|test|testdev)(?=[-._\d]|$)", re.IGNORECASE)
_PART = re.compile(r"-(?P<number>\d+)-of-(?P<count>\d+)(?:-\w+)?\.parquet$")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def rows_files(path: str, config: BenchmarkConfig, name: str | None) -> list[Path]:
    """Return the parquet files of one configuration and split, fetched from the hub if needed.

    Args:
        path: a file, a folder, or a hub id.
        config: gives split, revision and streaming.
        name: name of the configuration, or None for the only or default one.

    Returns:
        The files, sorted by name; none for a stream from the hub, and for data on the hub in
        another format.

    Raises:
        InputError: as `local_files`.
    """
    files = local_files(path, config.split, name)
    if files or config.streaming:
        return files
    return hub_files(path, config, name)


def local_files(path: str, split: str, name: str | None) -> list[Path]:
    """Return the parquet files of a local copy with one configuration and split, sorted by name.

    The README.md of a hub data set names the files of each configuration. Without a README.md, the
    files are in the subfolder that has the configuration's name.

    Args:
        path: a file, a folder, or a hub id, which has no local files.
        split: split of the data.
        name: name of the configuration, or None for the only or default one.

    Raises:
        InputError: for a path that does not exist, or if several configurations or splits remain.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return [local]
    if not local.is_dir():
        if is_local(path) or not _HUB_ID.fullmatch(path):
            raise InputError(f"No data set at '{path}': check the path.")
        return []  # a hub id

    files = [file.relative_to(local).as_posix() for file in sorted(local.rglob("*.parquet"))]
    if not files:
        raise InputError(f"The folder '{path}' holds no parquet file.")

    chosen = _chosen(path, files, _card_in(local), split, name)
    _check_whole(path, chosen)
    return [local / file for file in chosen]


# --- Which files ---


def _card_in(folder: Path) -> str:
    """Return the text of the card (README.md) in a folder, or an empty text."""
    card = folder / CARD
    return card.read_text(errors="replace") if card.is_file() else ""


def _chosen(path: str, files: Sequence[str], card: str, split: str, name: str | None) -> list[str]:
    """Return the files of one configuration and split, of all parquet files of a data set.

    Args:
        path: the folder or hub id, for messages.
        files: paths inside the data set.
        card: text of the card. It is the better source: it is what the hub itself uses.
        split: split of the data.
        name: name of the configuration, or None for the only or default one.

    Raises:
        InputError: if several configurations or splits remain.
    """
    patterns = _patterns_of_card(card, split, name)
    named = [file for file in files if any(_matches(file, pattern) for pattern in patterns)]
    if named:
        return named
    return _of_split(path, _of_configuration(path, files, name), split)


def _matches(file: str, pattern: str) -> bool:
    """Tell whether a path inside a data set is one that a pattern of its card names."""
    return fnmatch.fnmatchcase(file, pattern) or fnmatch.fnmatchcase(
        file, pattern.replace("**/", "")
    )


def _check_whole(path: str, files: Iterable[str]) -> None:
    """Refuse files of which some are missing, by names such as "test-00000-of-00003.parquet".

    Raises:
        InputError: naming the first missing file.
    """
    present = set(files)
    for file in sorted(present):
        match = _PART.search(file)
        if match is None:
            continue
        for number in range(int(match["count"])):
            part = f"{number:0{len(match['number'])}d}"
            wanted = f"{file[: match.start('number')]}{part}{file[match.end('number') :]}"
            if wanted not in present:
                raise InputError(
                    f"The data set '{path}' has no {wanted}: some of its files are missing; fetch "
                    "it again."
                )


def _patterns_of_card(card: str, split: str, name: str | None) -> list[str]:
    """Return the patterns of the files that a card names for a configuration and split."""
    patterns: list[str] = []
    for entry in _configs_of_card(card, name):
        for part in entry["data_files"]:
            if part["split"] == split:
                # "path" of a part is one pattern or a list of patterns.
                path = part["path"]
                patterns.extend([path] if isinstance(path, str) else path)

    return patterns


def _configs_of_card(card: str, name: str | None) -> list[dict[str, Any]]:
    """Return the card's entries of one configuration, or of the default one if there is no name."""
    head = re.match(r"---\n(.*?)\n---", card, re.DOTALL)
    if head is None:
        return []

    try:
        entries = yaml.safe_load(head[1])["configs"]
        configs = [entry for entry in entries if isinstance(entry["data_files"], list)]
    except (yaml.YAMLError, KeyError, TypeError):
        return []

    if name:
        return [entry for entry in configs if entry["config_name"] == name]
    usual = [
        entry for entry in configs if entry.get("default") or entry["config_name"] == "default"
    ]
    return usual or configs[: len(configs) == 1]  # a single configuration needs no name


def _of_configuration(path: str, files: Sequence[str], name: str | None) -> Sequence[str]:
    """Return the files below the subfolder with the configuration's name.

    All files are returned if they lie in one folder, since there is only one configuration then.
    """
    below = [file for file in files if name and name in PurePosixPath(file).parts[:-1]]
    if below:
        return below

    folders = sorted({str(PurePosixPath(file).parent) for file in files})
    if len(folders) == 1:
        return files

    asked = "name one with benchmark.config=NAME, or pass its folder as path"
    if name:
        asked = f"configuration '{name}' is none of them"
    raise InputError(
        f"The folder '{path}' holds several configurations, {', '.join(folders)}: {asked}."
    )


def _of_split(path: str, files: Sequence[str], split: str) -> list[str]:
    """Return the files whose names begin with the split, or all if no name says a split.

    A file may be named as its split but for underscores: HR-Bench keeps its split "hrbench_4k" in
    ``hr_bench_4k.parquet``, beside the file of another split.
    """
    names = {file: PurePosixPath(file).name for file in files}
    named = [file for file in files if re.match(rf"{re.escape(split)}(?=[-._\d]|$)", names[file])]
    if named:
        return named

    bare = f"{split}.parquet".replace("_", "")
    alike = [file for file in files if names[file].replace("_", "") == bare]
    if alike:
        return alike

    others = sorted({match[1] for file in files if (match := SPLIT.match(names[file]))})
    if others:
        raise InputError(
            f"The folder '{path}' has no split '{split}', only {', '.join(others)}: "
            "choose one with benchmark.split=NAME."
        )
    return list(files)


# --- On the hub ---


def hub_files(path: str, config: BenchmarkConfig, name: str | None) -> list[Path]:
    """Return the parquet files of one configuration and split of a hub data set.

    What is missing in the local cache is fetched, file by file; a broken download goes on where it
    stopped. Without a network the files that were fetched before are taken.

    Args:
        path: hub id.
        config: gives split and revision.
        name: name of the configuration, or None for the only or default one.

    Returns:
        The files in the cache; none for data in another format.

    Raises:
        InputError: if several configurations or splits remain, and for an unknown commit.
    """
    commit = hub_commit(path, config.revision, kind="dataset")
    try:
        chosen = hub_names(path, config, name)
    except InputError:
        raise
    except Exception:  # no network, or no login: the cache may still have the files
        cached = _cached_folder(path, commit)
        if cached is None:
            raise
        return local_files(cached, config.split, name)
    if not chosen:
        return []

    folder = _snapshot(path, commit, [CARD, *chosen])
    return [folder / file for file in chosen]


def hub_names(path: str, config: BenchmarkConfig, name: str | None) -> list[str]:
    """Return the paths, in a hub data set, of the parquet files of one configuration and split.

    Only its card is fetched.

    Args:
        path: hub id.
        config: gives split and revision.
        name: name of the configuration, or None for the only or default one.

    Raises:
        InputError: if several configurations or splits remain, and for an unknown commit.
    """
    commit = hub_commit(path, config.revision, kind="dataset")
    names = HfApi().list_repo_files(path, revision=commit, repo_type="dataset")
    files = sorted(file for file in names if file.endswith(".parquet"))
    if not files:
        return []

    # Asked for by its name, the cache remembers which commit it stood for, also without a network.
    card = _card_in(_snapshot(path, config.revision, [CARD]))
    return _chosen(path, files, card if CARD in names else "", config.split, name)


def _snapshot(path: str, revision: str | None, names: Sequence[str]) -> Path:
    """Fetch some files of a data set, and return its folder in the local cache."""
    return Path(
        snapshot_download(path, repo_type="dataset", revision=revision, allow_patterns=list(names))
    )


def _cached_folder(path: str, commit: str) -> str | None:
    """Return the folder of a data set in the local cache, None if there is none."""
    try:
        return snapshot_download(
            path, repo_type="dataset", revision=commit, local_files_only=True, allow_patterns=CARD
        )
    except LocalEntryNotFoundError:
        return None


def is_local(path: str) -> bool:
    """Tell whether a text is a local path, existing or not, rather than a hub id."""
    return (
        path.startswith((".", "/", "~", MINIATURE))
        or path.endswith(".parquet")
        or Path(path).expanduser().exists()
    )
