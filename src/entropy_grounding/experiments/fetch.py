"""Bring the files of checkpoints and benchmarks to this machine ahead, as they will be read.

Runs read them from the cache of the hub then, also without a network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.identity import hub_commit
from entropy_grounding.experiments.hub_sources import HubSource


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


def fetched(name: str, source: HubSource) -> Fetched:
    """Fetch the files of a hub repository that a run reads; what is here is not fetched again.

    Args:
        name: of the VLM or benchmark.
        source: the repository.

    Raises:
        InputError: for what the hub refuses, for a checkpoint that is not whole there or has no
            safetensors, and for data in another format than parquet.
    """
    commit = hub_commit(source.id, source.revision, kind=source.kind)
    files = tuple(_files(source))
    if not files:
        raise InputError(
            f"'{source.id}' has no parquet files: fetch it with 'hf download --repo-type dataset "
            f"{source.id}'."
        )
    return Fetched(name, source.what, source.id, commit, files)


def _files(source: HubSource) -> Sequence[Path]:
    """Return the files of a source, fetched; whatever goes wrong is one sentence.

    Raises:
        InputError: naming the source, the reason and the remedy.
    """
    try:
        return source.fetch()
    except InputError:
        raise
    except Exception as error:  # of the hub, the network, the disk: too many kinds to list
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        advice = machine_remedy(error) or (
            "Run the same command again where the hub can be reached; what was fetched is kept"
        )
        raise InputError(f"Could not fetch '{source.id}' ({reason}). {advice}.") from error
