"""Join the part files of an evaluation into one file."""

from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.coverage import coverage
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.rows import SCHEMA
from entropy_grounding.evaluation.store import locked_file, stored_rows, write_rows


def merge(folder: str | Path) -> tuple[Path, int]:
    """Join the part files of a results folder into ``rows.parquet``; return its path and the number of rows.

    Rows are in the order of the data set, one an example, whatever the shards and interruptions
    were. What the shards recorded about the end of the data goes into the manifest, once no row is
    missing.

    Raises:
        InputError: for a folder without rows, a broken part file, or rows of several
            configurations.
    """
    folder = Path(folder)
    with (
        locked_file(folder / ".merge.lock", folder, "is merging", "", patience=60)
        if folder.is_dir()
        else nullcontext()
    ):
        rows = stored_rows(folder)
        if rows.empty:
            raise InputError(
                f"The results folder '{folder}' holds no rows: run 'python -m "
                "entropy_grounding.evaluate' first."
            )
        hashes = sorted(set(rows["config_hash"]))
        if len(hashes) > 1:
            raise InputError(
                f"The results folder '{folder}' mixes configurations {', '.join(hashes)}."
            )
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pandas(
            rows, schema=SCHEMA, preserve_index=False
        ).replace_schema_metadata(None)
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=19,
            write_statistics=False,
            store_schema=False,
        )

        path = folder / "manifest.json"
        source = read_manifest(path) if path.is_file() else {"config": {}, "config_hash": hashes[0]}
        asked = source["config"].get("benchmark", {}).get("examples")
        found = coverage(folder, asked)
        if found.complete:
            whole = found.total == found.size
            source = {
                **source,
                "complete": {"examples": None if whole else asked, "rows": found.total},
            }
        write_rows(folder, sink.getvalue().to_pybytes(), source)
    return folder / "rows.parquet", len(rows)
