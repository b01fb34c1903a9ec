"""Stored rows and the manifest that says where they come from; the only module that touches result files.

A run appends part files, each complete when it has its name; ``python -m entropy_grounding.merge FOLDER ...`` joins them to one file.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import typing
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from entropy_grounding.environment import package_versions
from entropy_grounding.errors import InputError
from entropy_grounding.structures import Row
from entropy_grounding.vlm.identity import weights_identities

# Columns of the stored rows, from the fields of `Row`
_TYPES: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
    tuple[tuple[float, ...], ...]: pa.list_(pa.list_(pa.float64())),
}
_TYPES |= {int | None: pa.int64(), float | None: pa.float64(), str | None: pa.string()}
SCHEMA = pa.schema([(name, _TYPES[hint]) for name, hint in typing.get_type_hints(Row).items()])
WALL_TIMES = ("seconds", "vision_seconds", "map_seconds", "answer_seconds")
TIMES = (*WALL_TIMES, "peak_memory")  # columns in which two runs of the same configuration may differ
# What does not change a result, by section of the configuration: where it runs, where rows come from, how many there are.
_IRRELEVANT = {
    "vlm": ("name", "weights", "revision", "device", "device_map", "checkpointing", "expects"),
    "benchmark": ("name", "path", "revision", "images", "boxes", "streaming", "examples"),
}


def write_results(folder: Path, rows: pd.DataFrame, source: dict[str, Any]) -> Path:
    """Write ``rows.parquet`` and ``manifest.json`` (``source``, taken before the run); each replaces its predecessor when complete."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "rows.partial", index=False)
    (folder / "manifest.partial").write_text(json.dumps(source, indent=1) + "\n")
    (folder / "rows.partial").replace(folder / "rows.parquet")
    (folder / "manifest.partial").replace(folder / "manifest.json")
    return folder


def write_summary(path: Path, table: pd.DataFrame) -> None:
    """Write what was computed from rows (intervals, tests), so that documents need not compute it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_json(path, orient="records", indent=1, double_precision=15)


def read_summary(path: Path) -> pd.DataFrame:
    """Return what `write_summary` wrote; an empty table where nothing was."""
    return pd.read_json(path, orient="records", dtype=False) if path.is_file() else pd.DataFrame()


def load_rows(folder: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows and the manifest of a result folder; columns that rows of an earlier version lack are empty.

    Raises:
        InputError: when one of the two files is missing.
    """
    folder = Path(folder)
    for name in ("rows.parquet", "manifest.json"):
        if not (folder / name).is_file():
            raise InputError(f"No {name} in the result folder '{folder}': run the command that writes it first.")
    rows = pd.read_parquet(folder / "rows.parquet")
    empty = dict.fromkeys([name for name in SCHEMA.names if name not in rows], float("nan"))
    return rows.assign(**empty), json.loads((folder / "manifest.json").read_text())


def manifest(config: dict[str, Any]) -> dict[str, Any]:
    """Return configuration, fingerprint of tiny weights, commit, versions and time of a run."""
    return {
        "config": config,
        "weights_sha256": weights_identities(config["vlm"]["weights"], config["vlm"]["revision"])["weights"],
        "commit": commit(),
        "versions": package_versions(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commit() -> str:
    """Return the short commit of the working tree, with "+changes" when it differs; "unknown" outside a repository."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def config_hash(config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, **identities: Any) -> str:
    """Return twelve hexadecimal digits for what may change a result: model, data, protocol and method, not devices, paths or counts.

    Args:
        config: sections "vlm", "benchmark" and "method" of a run, as plain values.
        defaults: the same sections at their defaults; an option that is at its default does not count, so rows stay valid when a later
            version has one option more. The price: a default must never change (a test holds them).
        identities: what stands for a weights or data path, for example its fingerprint.
    """
    usual = _flat(defaults or {})
    chosen = {name: value for name, value in _flat(_relevant(config)).items() if name not in usual or usual[name] != value}
    text = json.dumps({**chosen, **identities}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        section: {name: value for name, value in values.items() if name not in _IRRELEVANT.get(section, ())}
        for section, values in config.items()
    }


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of a shard "i/n", counted from 1.

    Raises:
        InputError: for another format, or i outside 1 .. n.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"shard is '{text}': use i/n with i from 1 to n, for example shard=1/8.")
    return int(found[1]), int(found[2])


class RowStore:
    """The rows of one (VLM, benchmark, method) in a folder, for one shard; others may write to the same folder at the same time.

    Args:
        folder: where ``parts/`` and ``manifest.json`` go.
        source: the manifest, with its "config_hash".
        shard: "i/n".

    Raises:
        InputError: for a folder that belongs to another configuration or cannot be written, or a broken part file.
    """

    def __init__(self, folder: Path, source: Mapping[str, Any], shard: str) -> None:
        self.folder, self.parts, self.source = folder, folder / "parts", source
        self.name = "shard_{:03d}_of_{:03d}".format(*parse_shard(shard))
        _check_same(folder, source)
        with _writing(folder):
            self.parts.mkdir(parents=True, exist_ok=True)
            if not (folder / "manifest.json").exists():
                _replace(folder / "manifest.json", (json.dumps(source, indent=1) + "\n").encode())
        self.waiting: list[Row] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the same shard; what was added is written out on the way out, also after an error."""
        lock = FileLock(self.parts / f".{self.name}.lock", timeout=0)
        with _writing(self.folder):
            try:
                lock.acquire()
            except Timeout:
                raise InputError(f"Another process is writing {self.name} in '{self.folder}': wait for it, or use another shard.") from None
        try:
            yield
            self.flush()
        except BaseException:
            with suppress(InputError):  # the first error is the one to report
                self.flush()
            raise
        finally:
            lock.release()

    def stored(self) -> pd.DataFrame:
        """Return the rows that are on disk, of all shards, one an example."""
        return stored_rows(self.folder)

    def add(self, row: Row, *, flush_every: int) -> None:
        """Add a row; every ``flush_every`` of them become a part file."""
        self.waiting.append(row)
        if len(self.waiting) >= flush_every:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are waiting to a part file of their own."""
        if not self.waiting:
            return
        table = pa.Table.from_pylist([asdict(row) for row in self.waiting], schema=SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        with _writing(self.folder):
            _replace(self.parts / f"{self.name}_{datetime.now(UTC):%Y%m%dT%H%M%S%f}_{uuid.uuid4().hex[:6]}.parquet", sink.getvalue())
        self.waiting.clear()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one sentence."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise InputError(
            f"Could not write to the results folder '{folder}' ({why}): complete part files are kept; make room or choose another "
            "results_dir=..., then run the same command again."
        ) from error


def _replace(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file that has its name only when it is complete."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_same(folder: Path, source: Mapping[str, Any]) -> None:
    """Refuse a folder whose manifest has another config hash, and name what differs."""
    path = folder / "manifest.json"
    if not path.is_file():
        return
    stored = read_manifest(path)
    if stored.get("config_hash") == source["config_hash"]:
        return
    ours, theirs = _flat(_relevant(source["config"])), _flat(_relevant(stored.get("config", {})))
    changed = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    differing = "; ".join(f"{name} is {ours.get(name)!r}, there {theirs.get(name)!r}" for name in changed[:6])
    raise InputError(
        f"The results folder '{folder}' holds rows of another configuration ({stored.get('config_hash')}, not {source['config_hash']}: "
        f"{differing or 'other weights'}). Choose another results_dir=..., or move that folder away."
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; a broken one is an `InputError`."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"The manifest '{path}' cannot be read ({error}): restore it, or move its folder away.") from error


def stored_rows(folder: Path) -> pd.DataFrame:
    """Return the rows of all part files and of a joined file, if any; of several for one example the last that is ok, else the last."""
    files = [path for path in (folder / "rows.parquet", *sorted((folder / "parts").glob("[!.]*.parquet"))) if path.is_file()]
    tables = [_read_table(path) for path in files]
    rows = pa.concat_tables(tables).to_pandas() if tables else SCHEMA.empty_table().to_pandas()
    ranked = rows.assign(_ok=rows["status"] == "ok").sort_values(["number", "example_id", "_ok"], kind="stable")
    return ranked.drop_duplicates("example_id", keep="last").drop(columns="_ok").reset_index(drop=True)


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowInvalid) as error:
        first = " ".join(str(error).split())[:200]
        raise InputError(
            f"The rows file '{path}' is broken ({first}): delete it and run again; its examples are then done anew."
        ) from error


def merge(folder: str | Path) -> tuple[Path, int]:
    """Join the part files of a results folder into ``rows.parquet``; return its path and the number of rows.

    Rows are in the order of the data set, one an example, whatever the shards and interruptions were.

    Raises:
        InputError: for a folder without rows, a broken part file, or rows of several configurations.
    """
    folder = Path(folder)
    rows = stored_rows(folder)
    if rows.empty:
        raise InputError(f"The results folder '{folder}' holds no rows: run 'python -m entropy_grounding.evaluate' first.")
    hashes = sorted(set(rows["config_hash"]))
    if len(hashes) > 1:
        raise InputError(f"The results folder '{folder}' mixes configurations {', '.join(hashes)}.")
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, sink, compression="zstd", compression_level=19, write_statistics=False, store_schema=False)
    with _writing(folder):
        _replace(folder / "rows.parquet", sink.getvalue())
    return folder / "rows.parquet", len(rows)
