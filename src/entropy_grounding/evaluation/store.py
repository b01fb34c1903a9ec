"""Stored rows and the manifest that says where they come from; the only module that touches result files.

A run appends part files, each complete when it has its name; ``python -m entropy_grounding.merge
FOLDER ...`` joins them to one file. The name of a part holds the SHA-256 of its bytes, the manifest
that of the joined file, so a flipped bit is never read as a row.
"""

import hashlib
import io
import json
import os
import re
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from entropy_grounding.core.environment import differences
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import parse_shard
from entropy_grounding.evaluation.provenance import flattened, read_manifest, relevant_options
from entropy_grounding.evaluation.rows import SCHEMA, Row


class RowStore:
    """The rows of one (VLM, benchmark, method) in a folder, for one shard; others may write to the same folder at the same time.

    Args:
        folder: where ``parts/`` and ``manifest.json`` go.
        source: the manifest, with its "config_hash".
        shard: "i/n".

    Raises:
        InputError: for a folder that belongs to another configuration or cannot be written, or a
            broken file.
    """

    def __init__(self, folder: Path, source: Mapping[str, Any], shard: str) -> None:
        self.folder, self.parts, self.source = folder, folder / "parts", dict(source)
        self.shard, self.name = shard, _shard_name(shard)
        _check_same(folder, source)
        with _writing(folder):
            self.parts.mkdir(parents=True, exist_ok=True)
        self.waiting: list[Row] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the same shard; what was added is written out on the way out, also after an error."""
        with locked_file(
            self.parts / f".{self.name}.lock",
            self.folder,
            f"is writing {self.name}",
            "or use another shard",
        ):
            self._clear()
            try:
                yield
                self.flush()
            except BaseException:
                with suppress(InputError):  # the first error is the one to report
                    self.flush()
                raise

    def _clear(self) -> None:
        """Remove what a killed run of this shard left behind, and set damaged parts aside."""
        for left in self.parts.glob(f".{self.name}*.partial"):
            left.unlink(missing_ok=True)

        with _manifest_locked(self.folder):  # another shard may be writing it
            for left in self.folder.glob(".manifest.json.*.partial"):
                left.unlink(missing_ok=True)

        for path in _part_files(self.folder, self.name):
            if not _is_whole(path, path.read_bytes()):
                warnings.warn(
                    f"The part '{path}' is damaged: its examples are done again.", stacklevel=4
                )
                path.rename(path.with_suffix(".damaged"))

    def begin(self, environment: Mapping[str, str]) -> None:
        """Record where rows are made, before the first one; rows of one evaluation come from one environment.

        Raises:
            InputError: when stored rows come from another environment that may answer otherwise.
        """
        path = self.folder / "manifest.json"
        with _manifest_locked(self.folder):
            if not path.is_file():
                _replace(path, _encoded({**self.source, "environment": dict(environment)}))
                return
            stored = read_manifest(path)

        changed = differences(
            stored.get("environment") or stored.get("versions") or {}, environment
        )
        if changed:
            named = "; ".join(f"{name} was {before}, here {now}" for name, before, now in changed)
            raise InputError(
                f"The rows in '{self.folder}' were made in another environment ({named}), which "
                "may change answers: go on there, "
                "or choose another results_dir=... and start anew."
            )

    def stored(self) -> pd.DataFrame:
        """Return the rows that are on disk, of all shards, one an example."""
        return stored_rows(self.folder)

    def stored_ids(self, *, ok_only: bool = False) -> set[str]:
        """Return the ids of the examples that have a row, of all shards; with ``ok_only``, not those that failed.

        Raises:
            InputError: for rows of another configuration, whatever the manifest says.
        """
        rows = stored_table(
            self.folder, ("number", "example_id", "status", "config_hash")
        ).to_pandas()
        others = sorted(set(rows["config_hash"]) - {self.source["config_hash"]})
        if others:
            raise InputError(
                f"The results folder '{self.folder}' holds rows of another configuration "
                f"({', '.join(others)}, not "
                f"{self.source['config_hash']}): choose another results_dir=..., or move that "
                "folder away."
            )

        kept = one_per_example(rows)
        return set(kept["example_id"][(kept["status"] != "failed") | (not ok_only)])

    def add(self, row: Row, *, flush_every: int) -> None:
        """Add a row; every ``flush_every`` of them become a part file."""
        self.waiting.append(row)
        if len(self.waiting) >= flush_every:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are waiting to a part file of their own, and join parts of the same size where there are many."""
        if not self.waiting:
            return

        self._write(
            pa.Table.from_pylist([asdict(row) for row in self.waiting], schema=SCHEMA), level=0
        )
        self.waiting.clear()
        for level in range(_LEVELS):
            self._join(level)

    def _join(self, level: int) -> None:
        """Join the parts of a level into one of the next, once there are `_FAN` of them; a kill in between leaves each row twice."""
        parts = [path for path in _part_files(self.folder, self.name) if _level(path) == level]
        if len(parts) >= _FAN:
            self._write(pa.concat_tables([_read_part(path) for path in parts]), level=level + 1)
            for path in parts:
                path.unlink(missing_ok=True)

    def _write(self, table: pa.Table, *, level: int) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = sink.getvalue().to_pybytes()
        made = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        with _writing(self.folder):
            _replace(
                self.parts / f"{self.name}_{made}_L{level}_{_digest(content)[:_DIGITS]}.parquet",
                content,
            )

    def finish(self, *, examples: int | None, rows: int) -> None:
        """Record that this shard has read its data to the end.

        Args:
            examples: how many rows of the data set were asked for, None for all.
            rows: how many there were, of all shards.
        """
        with _writing(self.folder):
            _replace(
                self.parts / f"{self.name}.complete.json",
                _encoded({"examples": examples, "rows": rows}),
            )


_FAN, _LEVELS = (
    16,
    4,
)  # parts that are joined into one, and how often: 16 ** 5 parts stay under 80 files
_DIGITS = 24  # of a SHA-256 in the name of a part
_PART = re.compile(
    r"(?P<shard>shard_\d+_of_\d+)_.*?(?:_L(?P<level>\d)_(?P<digest>[0-9a-f]{24}))?\.parquet"
)


def _shard_name(shard: str) -> str:
    return "shard_{:03d}_of_{:03d}".format(*parse_shard(shard))


def _part_files(folder: Path, shard: str = "") -> list[Path]:
    return sorted(
        (folder / "parts").glob(f"{shard}[!.]*.parquet" if not shard else f"{shard}_*.parquet")
    )


def _level(path: Path) -> int | None:
    found = _PART.fullmatch(path.name)
    return int(found["level"]) if found and found["level"] else None


def _is_whole(path: Path, content: bytes) -> bool:
    """Tell whether the bytes of a part are those that it was named for; parts of the first version have no digest."""
    found = _PART.fullmatch(path.name)

    return not (found and found["digest"]) or _digest(content).startswith(found["digest"])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _encoded(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()


@contextmanager
def locked_file(
    lock: Path, folder: Path, doing: str, otherwise: str, patience: float = 0
) -> Iterator[None]:
    """Hold a lock file, and remove it afterwards.

    Raises:
        InputError: when another process holds it, or the folder cannot be written.
    """
    held = FileLock(lock, timeout=patience)
    with _writing(folder):
        try:
            held.acquire()
        except Timeout:
            more = f", {otherwise}" if otherwise else ""
            raise InputError(f"Another process {doing} in '{folder}': wait for it{more}.") from None
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        held.release()


def _manifest_locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock under which the manifest of a folder is written."""
    return locked_file(
        folder / ".manifest.lock", folder, "is writing the manifest", "", patience=60
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one sentence."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise InputError(
            f"Could not write to the results folder '{folder}' ({why}): complete part files are "
            "kept; make room or choose another "
            "results_dir=..., then run the same command again."
        ) from error


def _replace(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file that has its name only when it is complete."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_rows(folder: Path, content: bytes, source: Mapping[str, Any]) -> None:
    """Replace the joined rows and their digest; whenever this is killed, the manifest knows the digest of the file that lies there."""
    before = _digests(source)
    with _writing(folder), _manifest_locked(folder):
        for left in folder.glob(".rows.parquet.*.partial"):
            left.unlink(missing_ok=True)
        digest = _digest(content)
        _replace(folder / "manifest.json", _encoded({**source, "rows_sha256": [*before, digest]}))
        _replace(folder / "rows.parquet", content)
        _replace(folder / "manifest.json", _encoded({**source, "rows_sha256": digest}))


def _digests(source: Mapping[str, Any]) -> list[str]:
    """Return the digests that the joined rows may have: one, two while they are replaced, none in manifests of the first version."""
    stored = source.get("rows_sha256", [])

    return [stored] if isinstance(stored, str) else list(stored)


def _check_same(folder: Path, source: Mapping[str, Any]) -> None:
    """Refuse a folder whose manifest has another config hash, and name what differs."""
    path = folder / "manifest.json"
    if not path.is_file():
        return
    stored = read_manifest(path)
    if stored.get("config_hash") == source["config_hash"]:
        return
    ours, theirs = (
        flattened(relevant_options(source["config"])),
        flattened(relevant_options(stored["config"])),
    )
    changed = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    differing = "; ".join(
        f"{name} is {ours.get(name)!r}, there {theirs.get(name)!r}" for name in changed[:6]
    )
    raise InputError(
        f"The results folder '{folder}' holds rows of another configuration "
        f"({stored.get('config_hash')}, not {source['config_hash']}: "
        f"{differing or 'other weights or data'}). Choose another results_dir=..., or move that "
        "folder away."
    )


def stored_rows(folder: Path) -> pd.DataFrame:
    """Return the rows of all part files and of a joined file, if any; of several for one example the last that is ok, else the last.

    Raises:
        InputError: for a file that is broken.
    """
    return one_per_example(stored_table(folder).to_pandas())


def one_per_example(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one row per example: the last that is ok, or the last where none is."""
    ranked = rows.assign(_ok=rows["status"] == "ok").sort_values(
        ["number", "example_id", "_ok"], kind="stable"
    )

    return (
        ranked.drop_duplicates("example_id", keep="last").drop(columns="_ok").reset_index(drop=True)
    )


def stored_table(folder: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Return everything that is stored in a folder, the joined rows first; parts that are damaged are left out, with a warning."""
    schema = pa.schema([SCHEMA.field(name) for name in columns]) if columns else SCHEMA

    for _ in range(_RETRIES):
        try:
            tables = (
                [joined_table(folder, None, schema)] if (folder / "rows.parquet").is_file() else []
            )
            for path in _part_files(folder):
                content = path.read_bytes()
                if _is_whole(path, content):
                    tables.append(_parsed(path, content, schema))
                else:
                    warnings.warn(f"The part '{path}' is damaged and left out.", stacklevel=3)
            return pa.concat_tables(tables) if tables else schema.empty_table()
        except FileNotFoundError:  # another process has joined parts since they were listed
            continue
    raise InputError(
        f"The parts in '{folder}' change all the time: wait for the processes that write there."
    )


_RETRIES = 20


def joined_table(
    folder: Path, source: Mapping[str, Any] | None, schema: pa.Schema | None = None
) -> pa.Table:
    """Return the joined rows of a folder, after comparing them with the digest in its manifest.

    Raises:
        InputError: when they differ from it, or are no rows.
    """
    path, manifest_path = folder / "rows.parquet", folder / "manifest.json"
    if source is None:
        source = read_manifest(manifest_path) if manifest_path.is_file() else {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The rows file '{path}' cannot be read ({error.strerror or error})."
        ) from error

    digests = _digests(source)
    if digests and _digest(content) not in digests:
        raise InputError(
            f"The rows file '{path}' is damaged: its SHA-256 is not the one in its manifest. "
            "Restore it (git checkout), or delete it "
            "and merge its parts again."
        )
    return _parsed(path, content, schema)


def _read_part(path: Path) -> pa.Table:
    return _parsed(path, path.read_bytes(), SCHEMA)


def _parsed(path: Path, content: bytes, schema: pa.Schema | None) -> pa.Table:
    """Return the rows in the bytes of a file.

    Raises:
        InputError: naming the file, for whatever is wrong with it.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        if schema is None:
            return file.read()

        table = file.read([name for name in schema.names if name in file.schema_arrow.names])
        absent = [field for field in schema if field.name not in table.column_names]
        if any(field.name in KEYS for field in absent):
            raise ValueError(f"it has no column {absent[0].name}")
        for field in absent:
            table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.select(schema.names).cast(schema)
    except Exception as error:  # of pyarrow, which has no end of them for broken files
        first = " ".join(str(error).split())[:200]
        raise InputError(
            f"The rows file '{path}' is broken ({first}): delete it and run again; its examples "
            "are then done anew."
        ) from error


KEYS = ("number", "example_id", "status")  # without them a file holds no rows of ours
