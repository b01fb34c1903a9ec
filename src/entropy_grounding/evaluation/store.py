"""The working store of one evaluation: a folder of part files and a manifest.

A run appends part files, each complete when it has its name; `eg merge` joins them to one file. The
name of a part holds the SHA-256 of its bytes, so a flipped bit is never read as a row.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from entropy_grounding.core.environment import differences
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import parse_shard
from entropy_grounding.evaluation.files import (
    MANIFEST,
    ROWS,
    digest_of,
    encoded,
    joined_table,
    locked_file,
    manifest_locked,
    parsed,
    replace_file,
    write_rows,
    writing,
)
from entropy_grounding.evaluation.provenance import flattened, read_manifest, relevant_options
from entropy_grounding.evaluation.rows import SCHEMA, Row

_FAN = 16  # parts of a level that are joined into one of the next
_LEVELS = 4  # how often rows are joined: 16 ** 5 parts stay under 80 files
_DIGITS = 24  # of a SHA-256 in the name of a part
_PART = re.compile(
    r"(?P<shard>shard_\d+_of_\d+)_.*?(?:_L(?P<level>\d)_(?P<digest>[0-9a-f]{24}))?\.parquet"
)
_RETRIES = 20  # of a reader while another process joins parts


class RowStore:
    """The rows of one VLM, benchmark and method in a folder, for one shard.

    Other processes may write to the same folder at the same time.

    Args:
        folder: where ``parts/`` and ``manifest.json`` go.
        source: the manifest, with its "config_hash".
        shard: "i/n".

    Raises:
        InputError: for a folder that belongs to another configuration or cannot be written, or a
            broken file.
    """

    def __init__(self, folder: Path, source: Mapping[str, Any], shard: str) -> None:
        self.folder = folder
        self.parts = folder / "parts"
        self.source = dict(source)
        self.shard = shard
        self.name = "shard_{:03d}_of_{:03d}".format(*parse_shard(shard))
        self.waiting: list[Row] = []

        _check_same(folder, source)
        with writing(folder):
            self.parts.mkdir(parents=True, exist_ok=True)

    # --- Begin and end ---

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the same shard for a block.

        Rows that were added are written at its end, also after an error.
        """
        lock = self.parts / f".{self.name}.lock"
        with locked_file(lock, self.folder, f"is writing {self.name}", "or use another shard"):
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

        with manifest_locked(self.folder):  # another shard may be writing it
            for left in self.folder.glob(f".{MANIFEST}.*.partial"):
                left.unlink(missing_ok=True)

        for path in _part_files(self.folder, self.name):
            if not _is_whole(path, path.read_bytes()):
                warnings.warn(
                    f"The part '{path}' is damaged: its examples are done again.", stacklevel=4
                )
                path.rename(path.with_suffix(".damaged"))

    def begin(self, environment: Mapping[str, str]) -> None:
        """Record where rows are made, before the first one.

        Rows of one evaluation come from one environment.

        Raises:
            InputError: when stored rows come from another environment that may answer otherwise.
        """
        path = self.folder / MANIFEST
        with manifest_locked(self.folder):
            if not path.is_file():
                replace_file(path, encoded({**self.source, "environment": dict(environment)}))
                return
            stored = read_manifest(path)

        before = stored.get("environment") or stored.get("versions") or {}
        changed = differences(before, environment)
        if changed:
            named = "; ".join(f"{name} was {old}, here {now}" for name, old, now in changed)
            raise InputError(
                f"The rows in '{self.folder}' were made in another "
                f"environment ({named}), which may change answers: "
                "go on there, or choose another results_dir=... and start anew."
            )

    def finish(self, *, examples: int | None, rows: int) -> None:
        """Record that this shard has read its data to the end.

        Args:
            examples: how many rows of the data set were asked for, None for all.
            rows: how many there were, of all shards.
        """
        record = encoded({"examples": examples, "rows": rows})
        with writing(self.folder):
            replace_file(self.parts / f"{self.name}.complete.json", record)

    def recorded(self, name: str) -> Any:
        """Return an entry of the manifest on disk, None where there is none."""
        path = self.folder / MANIFEST
        return read_manifest(path).get(name) if path.is_file() else None

    def rewrite(self, change: Callable[[pd.DataFrame], pd.DataFrame], **recorded: Any) -> None:
        """Change the rows of all shards, file by file, and then record something in the manifest.

        Whenever this is killed, every row is there; what is not recorded yet is done again.

        Args:
            change: takes rows and returns as many.
            recorded: entries of the manifest.

        Raises:
            InputError: while another process writes a shard of this folder.
        """
        with ExitStack() as stack:
            paths = _part_files(self.folder)
            for shard in sorted({_shard_of(path) for path in paths} - {self.name}):
                lock = self.parts / f".{shard}.lock"
                stack.enter_context(locked_file(lock, self.folder, f"is writing {shard}"))

            for path in paths:
                rows = change(parsed(path, path.read_bytes()).to_pandas())
                self._write(_as_table(rows), level=_level(path) or 0, name=_shard_of(path))
                path.unlink(missing_ok=True)
            self._rewrite_joined(change)

            with manifest_locked(self.folder):
                manifest = self.folder / MANIFEST
                replace_file(manifest, encoded({**read_manifest(manifest), **recorded}))

    def _rewrite_joined(self, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Change the joined rows, if there are any."""
        if (self.folder / ROWS).is_file():
            rows = change(joined_table(self.folder, schema=SCHEMA).to_pandas())
            source = read_manifest(self.folder / MANIFEST)
            write_rows(self.folder, as_parquet(rows), source)

    # --- Read ---

    def stored(self) -> pd.DataFrame:
        """Return the rows on disk, of all shards, one per example."""
        return stored_rows(self.folder)

    def stored_ids(self, *, ok_only: bool = False) -> set[str]:
        """Return the ids of the examples that have a row, of all shards.

        Args:
            ok_only: leave out those that failed.

        Raises:
            InputError: for rows of another configuration, whatever the manifest says.
        """
        columns = ("number", "example_id", "status", "config_hash")
        rows = stored_table(self.folder, columns).to_pandas()
        others = sorted(set(rows["config_hash"]) - {self.source["config_hash"]})
        if others:
            raise InputError(
                f"The results folder '{self.folder}' holds rows of another configuration "
                f"({', '.join(others)}, not {self.source['config_hash']}): choose another "
                "results_dir=..., or move that folder away."
            )

        kept = one_per_example(rows)
        return set(kept["example_id"][(kept["status"] != "failed") | (not ok_only)])

    # --- Write ---

    def add(self, row: Row, *, flush_every: int) -> None:
        """Add a row; every ``flush_every`` of them become a part file."""
        self.waiting.append(row)
        if len(self.waiting) >= flush_every:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows to a part file, and join parts of one size if there are many."""
        if not self.waiting:
            return

        rows = [asdict(row) for row in self.waiting]
        self._write(pa.Table.from_pylist(rows, schema=SCHEMA), level=0)
        self.waiting.clear()
        for level in range(_LEVELS):
            self._join(level)

    def _join(self, level: int) -> None:
        """Join the parts of a level into one of the next, once there are `_FAN` of them.

        A kill in between leaves each row twice, which readers notice.
        """
        parts = [path for path in _part_files(self.folder, self.name) if _level(path) == level]
        if len(parts) < _FAN:
            return

        tables = [parsed(path, path.read_bytes()) for path in parts]
        self._write(pa.concat_tables(tables), level=level + 1)
        for path in parts:
            path.unlink(missing_ok=True)

    def _write(self, table: pa.Table, *, level: int, name: str | None = None) -> None:
        """Write a part file, of this shard or of the one that is named."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = sink.getvalue().to_pybytes()

        now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        part = f"{name or self.name}_{now}_L{level}_{digest_of(content)[:_DIGITS]}.parquet"
        with writing(self.folder):
            replace_file(self.parts / part, content)


def _check_same(folder: Path, source: Mapping[str, Any]) -> None:
    """Refuse a folder whose manifest has another config hash, and name what differs."""
    path = folder / MANIFEST
    if not path.is_file():
        return

    stored = read_manifest(path)
    if stored.get("config_hash") == source["config_hash"]:
        return

    ours = flattened(relevant_options(source["config"]))
    theirs = flattened(relevant_options(stored["config"]))
    changed = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    differing = "; ".join(
        f"{name} is {ours.get(name)!r}, there {theirs.get(name)!r}" for name in changed[:6]
    )
    raise InputError(
        f"The results folder '{folder}' holds rows of another configuration "
        f"({stored.get('config_hash')}, not {source['config_hash']}: "
        f"{differing or 'other weights or data'}). "
        "Choose another results_dir=..., or move that folder away."
    )


# --- Parts ---


def _part_files(folder: Path, shard: str = "") -> list[Path]:
    pattern = f"{shard}_*.parquet" if shard else "[!.]*.parquet"
    return sorted((folder / "parts").glob(pattern))


def _shard_of(path: Path) -> str:
    match = _PART.fullmatch(path.name)
    return match["shard"] if match else "shard_001_of_001"


def _level(path: Path) -> int | None:
    match = _PART.fullmatch(path.name)
    return int(match["level"]) if match and match["level"] else None


def _is_whole(path: Path, content: bytes) -> bool:
    """Tell whether the bytes of a part are those that it was named for."""
    match = _PART.fullmatch(path.name)
    if not (match and match["digest"]):
        return True

    return digest_of(content).startswith(match["digest"])


# --- All rows of a folder ---


def _as_table(rows: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False)


def as_parquet(rows: pd.DataFrame) -> bytes:
    """Return rows as the bytes of a file; the same rows give the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        _as_table(rows).replace_schema_metadata(None),
        sink,
        compression="zstd",
        compression_level=19,
        write_statistics=False,
        store_schema=False,
    )

    return sink.getvalue().to_pybytes()


def stored_rows(folder: Path) -> pd.DataFrame:
    """Return the rows of all part files and of the joined file of a folder, one per example.

    Raises:
        InputError: for a file that is broken.
    """
    return one_per_example(stored_table(folder).to_pandas())


def one_per_example(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one row per example: the last that is ok, or the last if none is."""
    order = ["number", "example_id", "_ok"]
    ranked = rows.assign(_ok=rows["status"] == "ok").sort_values(order, kind="stable")
    kept = ranked.drop_duplicates("example_id", keep="last")

    return kept.drop(columns="_ok").reset_index(drop=True)


def stored_table(folder: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Return everything that is stored in a folder, the joined rows first.

    Damaged parts are left out, with a warning.

    Args:
        folder: of one evaluation.
        columns: those to read; none reads all.
    """
    schema = pa.schema([SCHEMA.field(name) for name in columns]) if columns else SCHEMA
    for _ in range(_RETRIES):
        try:
            return _all_tables(folder, schema)
        except FileNotFoundError:  # another process has joined parts since they were listed
            continue

    raise InputError(
        f"The parts in '{folder}' change all the time: wait for the processes that write there."
    )


def _all_tables(folder: Path, schema: pa.Schema) -> pa.Table:
    tables = []
    if (folder / ROWS).is_file():
        tables.append(joined_table(folder, schema=schema))

    for path in _part_files(folder):
        content = path.read_bytes()
        if _is_whole(path, content):
            tables.append(parsed(path, content, schema))
        else:
            warnings.warn(f"The part '{path}' is damaged and left out.", stacklevel=5)

    return pa.concat_tables(tables) if tables else schema.empty_table()
