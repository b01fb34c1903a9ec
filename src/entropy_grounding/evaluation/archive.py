"""Published rows: write them, find them, read them."""

import io
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import UnresolvedError
from entropy_grounding.evaluation.config import EvaluateConfig, fingerprint, results_folder
from entropy_grounding.evaluation.coverage import is_complete
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.rows import SCHEMA
from entropy_grounding.evaluation.store import joined_table, write_rows


def stored_index(*roots: str | Path) -> dict[str, Path]:
    """Return the folders of joined rows below these folders, by config hash; of several the first."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(Path(root).glob("*/*/*/*/rows.parquet")):
            if path.with_name("manifest.json").is_file():
                found.setdefault(
                    read_manifest(path.with_name("manifest.json")).get("config_hash", ""),
                    path.parent,
                )
    return found


def stored_folder(config: EvaluateConfig, index: dict[str, Path]) -> Path | None:
    """Return the folder that holds all rows of an evaluation: its own, or one of the same configuration; None where some are missing."""
    own = results_folder(config)
    try:
        wanted = fingerprint(config)
    except (
        UnresolvedError
    ):  # nobody knows which weights or data that would be, so nothing of them is stored
        return None

    for folder in dict.fromkeys((own, index.get(wanted, own))):
        path = folder / "manifest.json"
        if (
            not (folder / "rows.parquet").is_file()
            or not path.is_file()
            or read_manifest(path).get("config_hash") != wanted
        ):
            continue
        if is_complete(folder, config.benchmark.examples):
            return folder
    return None


def write_results(folder: Path, rows: pd.DataFrame, source: dict[str, Any]) -> Path:
    """Write ``rows.parquet`` and ``manifest.json`` (``source``, taken before the run); each replaces its predecessor when complete."""
    folder.mkdir(parents=True, exist_ok=True)
    sink = io.BytesIO()
    rows.to_parquet(sink, index=False)
    write_rows(folder, sink.getvalue(), source)
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
            raise InputError(
                f"No {name} in the result folder '{folder}': run the command that writes it first."
            )

    source = read_manifest(folder / "manifest.json")
    rows = joined_table(folder, source).to_pandas()
    empty = dict.fromkeys([name for name in SCHEMA.names if name not in rows], float("nan"))
    return rows.assign(**empty), source


def check_repository(root: Path) -> None:
    """Refuse a folder that is no clone of this project's repository.

    Raises:
        InputError: naming the first file that is missing.
    """
    needed = ("README.md", "docs/baselines.md", "results/table1")
    missing = [name for name in needed if not (root / name).exists()]
    if missing:
        raise InputError(
            f"'{root}' is no clone of this project's repository (no {missing[0]}): go there, or "
            "name it."
        )
