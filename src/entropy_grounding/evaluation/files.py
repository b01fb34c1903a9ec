"""Write and read the files of rows, so that a file is either whole or noticed.

A file gets its name only when it is complete. Digests (SHA-256) in names and manifests tell whether
its bytes are still those that were written.
"""

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.rows import SCHEMA

ROWS, MANIFEST = "rows.parquet", "manifest.json"
KEYS = ("number", "example_id", "status")  # without these columns a file holds no rows of ours


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def encoded(values: Mapping[str, Any]) -> bytes:
    """Return values as the bytes of a JSON file."""
    return (json.dumps(values, indent=1) + "\n").encode()


# --- Write ---


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into one sentence."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise InputError(
            f"Could not write to the results folder '{folder}' ({why}): complete part files are "
            "kept; make room or choose another results_dir=..., then run the same command again."
        ) from error


def replace_file(path: Path, content: bytes) -> None:
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


@contextmanager
def locked_file(
    lock: Path, folder: Path, doing: str, otherwise: str = "", patience: float = 0
) -> Iterator[None]:
    """Hold a lock file for a block, and remove it afterwards.

    Args:
        lock: the file.
        folder: for messages: where something is done.
        doing: for messages: what the process that holds it is doing.
        otherwise: for messages: what else the user can do.
        patience: seconds to wait for another process.

    Raises:
        InputError: when another process holds it, or the folder cannot be written.
    """
    held = FileLock(lock, timeout=patience)
    with writing(folder):
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


def manifest_locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock under which the manifest of a folder is written."""
    return locked_file(folder / ".manifest.lock", folder, "is writing the manifest", patience=60)


def write_rows(folder: Path, content: bytes, source: Mapping[str, Any]) -> None:
    """Replace the joined rows of a folder, and their digest in its manifest.

    Whenever this is killed, the manifest knows the digest of the file that lies there: while the
    file is replaced it holds both, the old and the new one.
    """
    before = digests_in(source)
    digest = digest_of(content)
    with writing(folder), manifest_locked(folder):
        for left in folder.glob(f".{ROWS}.*.partial"):
            left.unlink(missing_ok=True)

        replace_file(folder / MANIFEST, encoded({**source, "rows_sha256": [*before, digest]}))
        replace_file(folder / ROWS, content)
        replace_file(folder / MANIFEST, encoded({**source, "rows_sha256": digest}))


def digests_in(source: Mapping[str, Any]) -> list[str]:
    """Return the digests that the rows of a manifest may have.

    There is one, two while the rows are replaced, and none before they are joined.
    """
    stored = source.get("rows_sha256", [])
    return [stored] if isinstance(stored, str) else list(stored)


# --- Read ---


def joined_table(
    folder: Path, source: Mapping[str, Any] | None = None, schema: pa.Schema | None = None
) -> pa.Table:
    """Return the joined rows of a folder, after their bytes were compared with their digest.

    Args:
        folder: of one evaluation.
        source: its manifest; None reads it.
        schema: the columns to read; None reads all.

    Raises:
        InputError: for rows that differ from the digest in the manifest, or that are none.
    """
    path, manifest = folder / ROWS, folder / MANIFEST
    if source is None:
        source = read_manifest(manifest) if manifest.is_file() else {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The rows file '{path}' cannot be read ({error.strerror or error})."
        ) from error

    digests = digests_in(source)
    if digests and digest_of(content) not in digests:
        raise InputError(
            f"The rows file '{path}' is damaged: its SHA-256 is not the one in its manifest. "
            "Restore it (git checkout), or delete it and merge its parts again."
        )
    return parsed(path, content, schema)


def completed(table: pa.Table, schema: pa.Schema = SCHEMA) -> pa.Table:
    """Return a table in a schema; a column that older rows lack is empty.

    Raises:
        ValueError: for rows without one of `KEYS`.
    """
    for field in schema:
        if field.name in table.column_names:
            continue
        if field.name in KEYS:
            raise ValueError(f"it has no column {field.name}")
        table = table.append_column(field, pa.nulls(len(table), field.type))

    return table.select(schema.names).cast(schema)


def parsed(path: Path, content: bytes, schema: pa.Schema | None = SCHEMA) -> pa.Table:
    """Return the rows in the bytes of a file, with empty columns where the file has none.

    Raises:
        InputError: naming the file, for whatever is wrong with it.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        if schema is None:
            return file.read()

        names = file.schema_arrow.names
        return completed(file.read([name for name in schema.names if name in names]), schema)
    except Exception as error:  # of pyarrow, which has many of them for broken files
        first = " ".join(str(error).split())[:200]
        raise InputError(
            f"The rows file '{path}' is broken ({first}): "
            "delete it and run again; its examples are then done anew."
        ) from error
