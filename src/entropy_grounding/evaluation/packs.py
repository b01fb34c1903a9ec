"""Packs: the published rows of one experiment and VLM in one file.

``results/rows/EXPERIMENT/VLM.parquet`` holds the rows of all its evaluations, one row group per
benchmark, and ``VLM.json`` beside it their manifests. An evaluation in a pack is named by a path as
if it lay in a folder of its own: ``results/rows/EXPERIMENT/VLM/BENCHMARK/METHOD``.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import file_digest
from entropy_grounding.evaluation.files import (
    completed,
    digest_of,
    digests_in,
    encoded,
    locked_file,
    replace_file,
)
from entropy_grounding.evaluation.rows import SCHEMA

# Entries that all manifests of a pack share are written once.
_SHARED = ("weights", "weights_sha256", "files", "versions", "python", "environment")


def pack_of(evaluation: Path) -> Path:
    """Return the file that would hold an evaluation, VLM/BENCHMARK/METHOD, in a pack."""
    vlm = evaluation.parents[1]
    return vlm.with_name(f"{vlm.name}.parquet")


def evaluations_in(pack: Path) -> dict[Path, dict[str, Any]]:
    """Return the manifests of a pack, by the path of each evaluation.

    Raises:
        InputError: for a pack that cannot be read.
    """
    about = _about(pack)
    folder = pack.with_suffix("")
    return {
        folder / name: {**about["shared"], **manifest}
        for name, manifest in about["evaluations"].items()
    }


def manifest_in(pack: Path, evaluation: Path) -> dict[str, Any] | None:
    """Return the manifest of one evaluation, named by its path; None if the pack lacks it.

    Raises:
        InputError: for a pack that cannot be read.
    """
    about = _about(pack)
    manifest = about["evaluations"].get(f"{evaluation.parent.name}/{evaluation.name}")

    return manifest and {**about["shared"], **manifest}


def rows_in(pack: Path, benchmark: str, method: str) -> pd.DataFrame:
    """Return the rows of one evaluation of a pack, in the order of the data set.

    Raises:
        InputError: for a pack that is damaged or lacks the evaluation.
    """
    about = _about(pack)
    if f"{benchmark}/{method}" not in about["evaluations"]:
        raise InputError(f"The pack '{pack}' has no rows of {benchmark} with {method}.")
    if file_digest(pack) not in digests_in(about):
        raise InputError(
            f"The pack '{pack}' is damaged: "
            "its SHA-256 is not the one beside it. Restore it (git checkout)."
        )

    group = about["groups"].index(benchmark)
    rows = _row_group(pack, group, pack.stat().st_mtime_ns)
    return rows[rows["method"] == method].reset_index(drop=True)


@lru_cache(maxsize=4)
def _row_group(pack: Path, group: int, changed: int) -> pd.DataFrame:
    """Return the rows of one benchmark; the time of the last change is part of the cache's key."""
    return completed(pq.ParquetFile(pack).read_row_group(group)).to_pandas()


def _about(pack: Path) -> dict[str, Any]:
    beside = pack.with_suffix(".json")
    try:
        return _parsed(beside, beside.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"The manifests '{beside}' cannot be read ({error.strerror or error}): "
            "restore them (git checkout)."
        ) from error


@lru_cache(maxsize=64)
def _parsed(beside: Path, changed: int) -> dict[str, Any]:
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        return {"shared": {}, **content, "evaluations": content["evaluations"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{beside}' holds no manifests ({error!r}): restore it (git checkout)."
        ) from error


# --- Write ---


def write_pack(pack: Path, added: Mapping[str, tuple[pd.DataFrame, Mapping[str, Any]]]) -> None:
    """Add evaluations to a pack, or replace them in it.

    Whenever this is killed, the manifests know the digest of the file that lies there.

    Args:
        pack: the parquet file.
        added: rows and manifest by BENCHMARK/METHOD.
    """
    pack.parent.mkdir(parents=True, exist_ok=True)
    with locked_file(pack.with_suffix(".lock"), pack.parent, "is packing", patience=60):
        stored = dict(added)
        before: list[str] = []
        if pack.is_file():
            before = digests_in(_about(pack))
            for path, manifest in evaluations_in(pack).items():
                name = f"{path.parent.name}/{path.name}"
                if name not in stored:
                    stored[name] = rows_in(pack, path.parent.name, path.name), manifest

        content, groups = _encoded_rows({name: rows for name, (rows, _) in stored.items()})
        _write_both(pack, content, groups, {name: m for name, (_, m) in stored.items()}, before)


def _encoded_rows(rows: Mapping[str, pd.DataFrame]) -> tuple[bytes, list[str]]:
    """Return the bytes of a pack, and the benchmark of each of its row groups.

    Rows of one benchmark lie together: their questions and references are then stored once.
    """
    sink = pa.BufferOutputStream()
    groups = sorted({name.partition("/")[0] for name in rows})
    options = {"compression": "zstd", "compression_level": 19, "write_statistics": False}
    with pq.ParquetWriter(sink, SCHEMA, store_schema=False, **options) as writer:
        for group in groups:
            names = sorted(name for name in rows if name.partition("/")[0] == group)
            together = pd.concat([rows[name] for name in names], ignore_index=True)
            table = pa.Table.from_pandas(together, schema=SCHEMA, preserve_index=False)
            writer.write_table(table.replace_schema_metadata(None), row_group_size=len(together))

    return sink.getvalue().to_pybytes(), groups


def _write_both(
    pack: Path,
    content: bytes,
    groups: list[str],
    manifests: Mapping[str, Mapping[str, Any]],
    before: list[str],
) -> None:
    """Write rows and manifests; while the rows are replaced the manifests hold both digests."""
    first = next(iter(manifests.values()))
    shared = {}
    for name in _SHARED:
        if name in first and all(m.get(name) == first[name] for m in manifests.values()):
            shared[name] = first[name]

    entries = {}
    for name in sorted(manifests):
        own = {key: value for key, value in manifests[name].items() if key not in shared}
        own.pop("rows_sha256", None)
        entries[name] = own

    digest = digest_of(content)
    about = {"groups": groups, "shared": shared, "evaluations": entries}
    beside = pack.with_suffix(".json")
    replace_file(beside, encoded({"rows_sha256": [*before, digest], **about}))
    replace_file(pack, content)
    replace_file(beside, encoded({"rows_sha256": digest, **about}))
