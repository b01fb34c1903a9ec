"""Stored rows and the manifest that says where they come from; the only module that touches result files.

A run appends part files, each complete when it has its name; ``python -m entropy_grounding.merge FOLDER ...`` joins them to one file.
The name of a part holds the SHA-256 of its bytes, the manifest that of the joined file, so a flipped bit is never read as a row.
"""

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import typing
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from entropy_grounding.environment import differences, package_versions
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
    sink = io.BytesIO()
    rows.to_parquet(sink, index=False)
    _write_rows(folder, sink.getvalue(), source)
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
        InputError: when one of the two files is missing or damaged.
    """
    folder = Path(folder)
    for name in ("rows.parquet", "manifest.json"):
        if not (folder / name).is_file():
            raise InputError(f"No {name} in the result folder '{folder}': run the command that writes it first.")

    source = read_manifest(folder / "manifest.json")
    rows = _joined_table(folder, source).to_pandas()
    empty = dict.fromkeys([name for name in SCHEMA.names if name not in rows], float("nan"))
    return rows.assign(**empty), source


def manifest(config: dict[str, Any]) -> dict[str, Any]:
    """Return configuration, fingerprint of tiny weights, commit, versions and time of a run."""
    return {
        "config": config,
        "weights_sha256": weights_identities(config["vlm"]["weights"], config["vlm"].get("revision"))["weights"],
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


def check_name(option: str, name: str) -> None:
    """Refuse a name that is no plain name of a folder.

    Raises:
        InputError: naming the option.
    """
    if not re.fullmatch(r"\w[\w.+=-]{0,99}", name):
        raise InputError(f"{option} is '{name}': it names a folder, so use letters, digits, and any of . _ + = - (at most 100).")


class RowStore:
    """The rows of one (VLM, benchmark, method) in a folder, for one shard; others may write to the same folder at the same time.

    Args:
        folder: where ``parts/`` and ``manifest.json`` go.
        source: the manifest, with its "config_hash".
        shard: "i/n".

    Raises:
        InputError: for a folder that belongs to another configuration or cannot be written, or a broken file.
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
        with _locked(self.parts / f".{self.name}.lock", self.folder, f"is writing {self.name}", "or use another shard"):
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
                warnings.warn(f"The part '{path}' is damaged: its examples are done again.", stacklevel=4)
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

        changed = differences(stored.get("environment") or stored.get("versions") or {}, environment)
        if changed:
            named = "; ".join(f"{name} was {before}, here {now}" for name, before, now in changed)
            raise InputError(
                f"The rows in '{self.folder}' were made in another environment ({named}), which may change answers: go on there, "
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
        rows = _table(self.folder, ("number", "example_id", "status", "config_hash")).to_pandas()
        others = sorted(set(rows["config_hash"]) - {self.source["config_hash"]})
        if others:
            raise InputError(
                f"The results folder '{self.folder}' holds rows of another configuration ({', '.join(others)}, not "
                f"{self.source['config_hash']}): choose another results_dir=..., or move that folder away."
            )

        kept = _one_each(rows)
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

        self._write(pa.Table.from_pylist([asdict(row) for row in self.waiting], schema=SCHEMA), level=0)
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
            _replace(self.parts / f"{self.name}_{made}_L{level}_{_digest(content)[:_DIGITS]}.parquet", content)

    def finish(self, *, examples: int | None, rows: int) -> None:
        """Record that this shard has read its data to the end.

        Args:
            examples: how many rows of the data set were asked for, None for all.
            rows: how many there were, of all shards.
        """
        with _writing(self.folder):
            _replace(self.parts / f"{self.name}.complete.json", _encoded({"examples": examples, "rows": rows}))


_FAN, _LEVELS = 16, 4  # parts that are joined into one, and how often: 16 ** 5 parts stay under 80 files
_DIGITS = 24  # of a SHA-256 in the name of a part
_PART = re.compile(r"(?P<shard>shard_\d+_of_\d+)_.*?(?:_L(?P<level>\d)_(?P<digest>[0-9a-f]{24}))?\.parquet")


def _shard_name(shard: str) -> str:
    return "shard_{:03d}_of_{:03d}".format(*parse_shard(shard))


def _part_files(folder: Path, shard: str = "") -> list[Path]:
    return sorted((folder / "parts").glob(f"{shard}[!.]*.parquet" if not shard else f"{shard}_*.parquet"))


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
def _locked(lock: Path, folder: Path, doing: str, otherwise: str, patience: float = 0) -> Iterator[None]:
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
    return _locked(folder / ".manifest.lock", folder, "is writing the manifest", "", patience=60)


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
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_rows(folder: Path, content: bytes, source: Mapping[str, Any]) -> None:
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
    ours, theirs = _flat(_relevant(source["config"])), _flat(_relevant(stored["config"]))
    changed = [name for name in sorted(ours | theirs) if ours.get(name) != theirs.get(name)]
    differing = "; ".join(f"{name} is {ours.get(name)!r}, there {theirs.get(name)!r}" for name in changed[:6])
    raise InputError(
        f"The results folder '{folder}' holds rows of another configuration ({stored.get('config_hash')}, not {source['config_hash']}: "
        f"{differing or 'other weights or data'}). Choose another results_dir=..., or move that folder away."
    )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; its sections are mappings.

    Raises:
        InputError: for a file that cannot be read, or is no manifest.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"The manifest '{path}' cannot be read ({error}): restore it, or move its folder away.") from error

    config = found.get("config", {}) if isinstance(found, dict) else None
    sections = [config.get(name, {}) for name in ("vlm", "benchmark", "method")] if isinstance(config, dict) else [config]
    if not all(isinstance(section, dict) for section in sections):
        raise InputError(f"'{path}' is no manifest (its configuration is no mapping of sections): restore it, or move its folder away.")
    return {"config": {}, **found}


def stored_rows(folder: Path) -> pd.DataFrame:
    """Return the rows of all part files and of a joined file, if any; of several for one example the last that is ok, else the last.

    Raises:
        InputError: for a file that is broken.
    """
    return _one_each(_table(folder).to_pandas())


def _one_each(rows: pd.DataFrame) -> pd.DataFrame:
    ranked = rows.assign(_ok=rows["status"] == "ok").sort_values(["number", "example_id", "_ok"], kind="stable")

    return ranked.drop_duplicates("example_id", keep="last").drop(columns="_ok").reset_index(drop=True)


def _table(folder: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Return everything that is stored in a folder, the joined rows first; parts that are damaged are left out, with a warning."""
    schema = pa.schema([SCHEMA.field(name) for name in columns]) if columns else SCHEMA

    for _ in range(_RETRIES):
        try:
            tables = [_joined_table(folder, None, schema)] if (folder / "rows.parquet").is_file() else []
            for path in _part_files(folder):
                content = path.read_bytes()
                if _is_whole(path, content):
                    tables.append(_parsed(path, content, schema))
                else:
                    warnings.warn(f"The part '{path}' is damaged and left out.", stacklevel=3)
            return pa.concat_tables(tables) if tables else schema.empty_table()
        except FileNotFoundError:  # another process has joined parts since they were listed
            continue
    raise InputError(f"The parts in '{folder}' change all the time: wait for the processes that write there.")


_RETRIES = 20


def _joined_table(folder: Path, source: Mapping[str, Any] | None, schema: pa.Schema | None = None) -> pa.Table:
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
        raise InputError(f"The rows file '{path}' cannot be read ({error.strerror or error}).") from error

    digests = _digests(source)
    if digests and _digest(content) not in digests:
        raise InputError(
            f"The rows file '{path}' is damaged: its SHA-256 is not the one in its manifest. Restore it (git checkout), or delete it "
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
        if any(field.name in _KEYS for field in absent):
            raise ValueError(f"it has no column {absent[0].name}")
        for field in absent:
            table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.select(schema.names).cast(schema)
    except Exception as error:  # of pyarrow, which has no end of them for broken files
        first = " ".join(str(error).split())[:200]
        raise InputError(
            f"The rows file '{path}' is broken ({first}): delete it and run again; its examples are then done anew."
        ) from error


_KEYS = ("number", "example_id", "status")  # without them a file holds no rows of ours


@dataclass(frozen=True)
class Coverage:
    """How much of an evaluation is stored.

    Attributes:
        rows: examples that have a row.
        total: rows of the data set that were asked for, None where nobody has read to its end yet.
        missing: of these, how many have no row; None where the total is not known.
        size: rows that the data set has, None where nobody has read to its end.
    """

    rows: int
    total: int | None
    missing: int | None
    size: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every row of the data set that was asked for is stored."""
        return self.missing == 0


def coverage(folder: Path, examples: int | None) -> Coverage:
    """Return how much of an evaluation a folder holds, by the numbers of its rows, not by their count.

    Args:
        folder: of the rows.
        examples: rows of the data set that are asked for, the first ones; None for all.

    Raises:
        InputError: for broken files.
    """
    rows = _one_each(_table(folder, _KEYS).to_pandas())
    records = [_record(path) for path in (folder / "parts").glob("shard_*.complete.json")]
    manifest_path = folder / "manifest.json"
    source = read_manifest(manifest_path) if manifest_path.is_file() else {"config": {}}
    manifest_options = source["config"].get("benchmark", {})
    ends = [*records, *([source["complete"]] if source.get("complete") else [])]

    # A run that was asked for all rows, or for more than there are, knows their number.
    sizes = [end["rows"] for end in ends if end["examples"] is None or end["rows"] < end["examples"]]
    size = min(sizes, default=None)
    total = size if examples is None else min([examples, *sizes])
    if manifest_options.get("protocol", {}).get("option_order") == "rotations" and not ends:
        total = None  # a row of the data has several examples, so its number does not say that all of them are there
    numbers = set(rows["number"])
    missing = None if total is None else total - sum(number in numbers for number in range(total))

    return Coverage(len(rows), total, missing, size)


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
        return {"examples": found["examples"], "rows": int(found["rows"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The record '{path}' cannot be read ({error!r}): delete it and run its shard again.") from error


def is_complete(folder: Path, examples: int | None) -> bool:
    """Tell whether a folder of joined rows holds every row that is asked for, see `coverage`; computed once while nothing changes."""
    files = (folder / "rows.parquet", folder / "manifest.json")

    return _is_complete(folder, examples, tuple(path.stat().st_mtime_ns for path in files))


@cache
def _is_complete(folder: Path, examples: int | None, changed: tuple[int, ...]) -> bool:
    return coverage(folder, examples).complete


def merge(folder: str | Path) -> tuple[Path, int]:
    """Join the part files of a results folder into ``rows.parquet``; return its path and the number of rows.

    Rows are in the order of the data set, one an example, whatever the shards and interruptions were. What the shards recorded about the
    end of the data goes into the manifest, once no row is missing.

    Raises:
        InputError: for a folder without rows, a broken part file, or rows of several configurations.
    """
    folder = Path(folder)
    with _locked(folder / ".merge.lock", folder, "is merging", "", patience=60) if folder.is_dir() else nullcontext():
        rows = stored_rows(folder)
        if rows.empty:
            raise InputError(f"The results folder '{folder}' holds no rows: run 'python -m entropy_grounding.evaluate' first.")
        hashes = sorted(set(rows["config_hash"]))
        if len(hashes) > 1:
            raise InputError(f"The results folder '{folder}' mixes configurations {', '.join(hashes)}.")
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pandas(rows, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, sink, compression="zstd", compression_level=19, write_statistics=False, store_schema=False)

        path = folder / "manifest.json"
        source = read_manifest(path) if path.is_file() else {"config": {}, "config_hash": hashes[0]}
        asked = source["config"].get("benchmark", {}).get("examples")
        found = coverage(folder, asked)
        if found.complete:
            whole = found.total == found.size
            source = {**source, "complete": {"examples": None if whole else asked, "rows": found.total}}
        _write_rows(folder, sink.getvalue().to_pybytes(), source)
    return folder / "rows.parquet", len(rows)


def missing_text(folder: Path) -> str:
    """Return a sentence that says what a folder still lacks, empty where nothing is known to be missing."""
    asked = read_manifest(folder / "manifest.json")["config"].get("benchmark", {}).get("examples")
    found = coverage(folder, asked)
    if found.complete:
        return ""

    count = f"{found.missing} of {found.total} rows are missing" if found.total is not None else "nobody has read the data to its end"
    absent = _absent_shards(folder)
    named = f" (shard {', '.join(absent)})" if absent else ""
    return f"incomplete: {count}{named}"


def _absent_shards(folder: Path) -> list[str]:
    """Return the shards "i/n" that have not read to their end, of every n that has begun."""
    files = [*(folder / "parts").glob("shard_*")]
    begun = {match[0]: (int(match[1]), int(match[2])) for path in files if (match := re.match(r"shard_(\d+)_of_(\d+)", path.name))}
    ended = {path.name.partition(".")[0] for path in files if path.name.endswith(".complete.json")}
    counts = {count for _, count in begun.values()}

    return [f"{i}/{n}" for n in sorted(counts) for i in range(1, n + 1) if f"shard_{i:03d}_of_{n:03d}" not in ended]
