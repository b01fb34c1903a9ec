"""What of a checkpoint or a benchmark still has to come from the hub, and how many bytes it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.hf_api import RepoFile

from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.identity import hub_commit
from entropy_grounding.experiments.hub_sources import HubSource

_AT_ONCE = 500  # files that the hub is asked about in one request


@dataclass(frozen=True)
class Download:
    """The files of one hub repository that a run reads.

    Attributes:
        source: hub id.
        commit: at which the files are read.
        files: number of all files.
        size: bytes of all files.
        missing: bytes of those that are not in the local cache.
    """

    source: str
    commit: str
    files: int
    size: int
    missing: int


def download(source: HubSource) -> Download:
    """Ask the hub for the sizes of files, and the local cache which of them it has.

    Without the hub, a cache that has everything is enough.

    Raises:
        InputError: naming the source, the reason and the remedy.
    """
    commit = hub_commit(source.id, source.revision, kind=source.kind)
    try:
        wanted = list(source.names(commit))
        sizes = _sizes(source.id, commit, source.kind, wanted)
    except InputError:
        raise
    except Exception as error:  # of the hub and the network: too many kinds to list
        return _from_cache(source, commit, error)

    missing = [name for name in wanted if not _is_cached(source, name, commit)]
    return Download(
        source.id,
        commit,
        files=len(wanted),
        size=sum(sizes.values()),
        missing=sum(sizes.get(name, 0) for name in missing),
    )


def _from_cache(source: HubSource, commit: str, refused: Exception) -> Download:
    """Return the files of a repository from the local cache, which must have them all."""
    try:
        folder = snapshot_download(
            source.id, repo_type=source.kind, revision=commit, local_files_only=True
        )
    except LocalEntryNotFoundError as error:
        reason = " ".join(f"{type(refused).__name__}: {refused}".split())[:200]
        advice = machine_remedy(refused) or "Fetch it with eg fetch where the hub can be reached"
        raise InputError(
            f"'{source.id}' is not in the local cache, and the hub does not answer ({reason}). "
            f"{advice}."
        ) from error

    files = source.present(Path(folder))
    size = sum(path.stat().st_size for path in files)
    return Download(source.id, commit, files=len(files), size=size, missing=0)


def _sizes(source: str, commit: str, kind: str, names: Sequence[str]) -> dict[str, int]:
    """Return the bytes of files of a hub repository, by path."""
    sizes: dict[str, int] = {}
    for start in range(0, len(names), _AT_ONCE):
        part = list(names[start : start + _AT_ONCE])
        found = HfApi().get_paths_info(source, part, revision=commit, repo_type=kind)
        sizes |= {each.path: each.size for each in found if isinstance(each, RepoFile)}
    return sizes


def _is_cached(source: HubSource, name: str, commit: str) -> bool:
    """Tell whether a file of a commit lies in the local cache."""
    path = try_to_load_from_cache(source.id, name, revision=commit, repo_type=source.kind)
    return isinstance(path, str) and Path(path).exists()
