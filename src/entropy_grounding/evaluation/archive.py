"""Find and read stored rows: those of working stores, and the published ones in packs.

An evaluation is named by its path EXPERIMENT/VLM/BENCHMARK/METHOD, in ``outputs/results`` or in
``results/rows``, whether it lies in a folder of its own or in a pack.
"""

import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.identity import UnresolvedError
from entropy_grounding.core.paths import ROOT
from entropy_grounding.evaluation.config import (
    EvaluateConfig,
    boxes_identity,
    fingerprint,
    results_folder,
)
from entropy_grounding.evaluation.coverage import coverage, coverage_of
from entropy_grounding.evaluation.files import MANIFEST, ROWS, joined_table, write_rows
from entropy_grounding.evaluation.packs import (
    evaluations_in,
    manifest_in,
    pack_of,
    rows_in,
    write_pack,
)
from entropy_grounding.evaluation.places import with_best_iou
from entropy_grounding.evaluation.provenance import read_manifest
from entropy_grounding.evaluation.retried import MOST_RETRIED, check_retried
from entropy_grounding.evaluation.rows import SCHEMA

OUTPUTS = ROOT / "outputs" / "results"  # what commands and notebooks write by default
RESULTS = ROOT / "results"  # what is published with the repository
PUBLISHED = RESULTS / "rows"


# --- Find ---


def stored_evaluations(root: str | Path) -> list[Path]:
    """Return the paths VLM/BENCHMARK/METHOD of all joined evaluations of an experiment, sorted.

    Args:
        root: folder of the experiment, for example ``results/rows/table1``.
    """
    paths = {path.parent for path in Path(root).glob(f"*/*/*/{ROWS}") if _has_manifest(path)}
    for pack in Path(root).glob("*.parquet"):
        paths.update(evaluations_in(pack))

    return sorted(paths)


def is_stored(evaluation: Path) -> bool:
    """Tell whether joined rows lie at the path of an evaluation, or in its pack."""
    if (evaluation / ROWS).is_file():
        return _has_manifest(evaluation / ROWS)

    pack = pack_of(evaluation)
    return pack.is_file() and manifest_in(pack, evaluation) is not None


def _has_manifest(rows: Path) -> bool:
    return rows.with_name(MANIFEST).is_file()


def source_of(evaluation: Path) -> dict[str, Any]:
    """Return the manifest of an evaluation.

    Raises:
        InputError: if there is none, or it cannot be read.
    """
    if (evaluation / MANIFEST).is_file():
        return read_manifest(evaluation / MANIFEST)

    pack = pack_of(evaluation)
    manifest = manifest_in(pack, evaluation) if pack.is_file() else None
    if manifest is None:
        raise InputError(
            f"No {ROWS} in the result folder '{evaluation}', "
            "and no pack holds it: run the command that writes it first."
        )
    return {"config": {}, **manifest}


def stored_index(*roots: str | Path) -> dict[str, Path]:
    """Return the paths of joined evaluations by config hash; of several the first.

    Args:
        roots: folders of experiments, such as ``outputs/results`` and ``results/rows``.
    """
    index: dict[str, Path] = {}
    for root in roots:
        for experiment in sorted(path for path in Path(root).glob("*") if path.is_dir()):
            for evaluation in stored_evaluations(experiment):
                config_hash = source_of(evaluation).get("config_hash", "")
                index.setdefault(config_hash, evaluation)

    return index


def stored_folder(config: EvaluateConfig, index: dict[str, Path]) -> Path | None:
    """Return the path that holds all rows of an evaluation, None if some are missing.

    It is the evaluation's own folder, or another one of the same configuration.

    Args:
        config: of the evaluation.
        index: from `stored_index`.
    """
    own = results_folder(config)
    try:
        wanted, boxes = fingerprint(config), boxes_identity(config)
    except UnresolvedError:  # of unknown weights or data nothing is stored
        return None

    for evaluation in dict.fromkeys((own, index.get(wanted, own))):
        if not is_stored(evaluation) or source_of(evaluation).get("config_hash") != wanted:
            continue
        if boxes and source_of(evaluation).get("boxes") != boxes:
            continue  # its places are not those of these boxes; a run fills them
        if is_complete(evaluation, config.benchmark.examples):
            return evaluation
    return None


def is_complete(evaluation: Path, examples: int | None) -> bool:
    """Tell whether an evaluation holds every row that is asked for; computed once per change."""
    return _is_complete(evaluation, examples, last_change(evaluation))


@cache
def _is_complete(evaluation: Path, examples: int | None, changed: tuple[int, ...]) -> bool:
    if (evaluation / ROWS).is_file():
        return coverage(evaluation, examples).complete

    rows, source = load_rows(evaluation)
    return coverage_of(rows, source, examples).complete


def last_change(evaluation: Path) -> tuple[int, ...]:
    """Return when the files of an evaluation changed last, for the keys of caches."""
    files = (evaluation / ROWS, evaluation / MANIFEST)
    if not files[0].is_file():
        pack = pack_of(evaluation)
        files = (pack, pack.with_suffix(".json"))

    return tuple(path.stat().st_mtime_ns for path in files)


# --- Read ---


def load_rows(evaluation: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows and the manifest of an evaluation.

    Args:
        evaluation: its folder, or its path in a pack
            (``results/rows/EXPERIMENT/VLM/BENCHMARK/METHOD``).

    Raises:
        InputError: if rows or manifest are missing or damaged.
    """
    evaluation = Path(evaluation)
    if not (evaluation / ROWS).is_file() and not (evaluation / MANIFEST).is_file():
        source = source_of(evaluation)
        return rows_in(pack_of(evaluation), evaluation.parent.name, evaluation.name), source

    for name in (ROWS, MANIFEST):
        if not (evaluation / name).is_file():
            raise InputError(
                f"No {name} in the result folder '{evaluation}': "
                "run the command that writes it first."
            )
    source = read_manifest(evaluation / MANIFEST)
    rows = joined_table(evaluation, source).to_pandas()
    absent = [name for name in SCHEMA.names if name not in rows]
    return rows.assign(**dict.fromkeys(absent, float("nan"))), source


def table_rows(evaluation: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return rows and manifest as `load_rows`, for a table about the method: with `best_iou`.

    Raises:
        InputError: as `load_rows`, and where memory ran out for more rows than were accepted.
    """
    rows, source = load_rows(evaluation)
    check_retried(rows, Path(evaluation), source.get("most_retried", MOST_RETRIED))
    return with_best_iou(rows), source


# --- Publish ---


def publish(folder: str | Path, experiment: str, results: Path = RESULTS) -> list[Path]:
    """Pack finished evaluations into the published results; return their new paths.

    Args:
        folder: of one evaluation, or above several.
        experiment: name of the pack's folder.
        results: the folder of the published results.

    Raises:
        InputError: for a folder without joined rows, and for an evaluation that is not complete.
    """
    evaluations = sorted(path.parent for path in Path(folder).rglob(ROWS))
    if not evaluations:
        raise InputError(
            f"The folder '{folder}' holds no joined rows: "
            "run 'eg evaluate', or 'eg merge' for shards, first."
        )

    packs: dict[str, dict[str, tuple[pd.DataFrame, dict[str, Any]]]] = {}
    for evaluation in evaluations:
        rows, source = load_rows(evaluation)
        asked = source["config"].get("benchmark", {}).get("examples")
        if not is_complete(evaluation, asked):
            raise InputError(
                f"The evaluation '{evaluation}' is not complete: "
                "run the same command again to finish it, then publish it."
            )
        name = f"{evaluation.parent.name}/{evaluation.name}"
        packs.setdefault(evaluation.parents[1].name, {})[name] = rows, source

    written = []
    for vlm, added in packs.items():
        pack = results / "rows" / experiment / f"{vlm}.parquet"
        write_pack(pack, added)
        written += [pack.with_suffix("") / name for name in added]
    return written


# --- Other tables ---


def write_results(folder: Path, rows: pd.DataFrame, source: dict[str, Any]) -> Path:
    """Write ``rows.parquet`` and ``manifest.json``; each replaces its predecessor when complete.

    Args:
        folder: where they go.
        rows: of any columns.
        source: the manifest, made before the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sink = io.BytesIO()
    rows.to_parquet(sink, index=False)
    write_rows(folder, sink.getvalue(), source)

    return folder


def write_summary(path: Path, table: pd.DataFrame) -> None:
    """Write a table that was computed from rows, so that documents need not compute it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_json(path, orient="records", indent=1, double_precision=15)


def read_summary(path: Path) -> pd.DataFrame:
    """Return the table that `write_summary` wrote; an empty one if there is none."""
    return pd.read_json(path, orient="records", dtype=False) if path.is_file() else pd.DataFrame()


def experiments_in(root: Path) -> Iterator[str]:
    """Yield the names of the experiments with published rows."""
    yield from sorted(path.name for path in (root / "rows").glob("*") if path.is_dir())


def check_repository(root: Path) -> None:
    """Refuse a folder that is no clone of this project's repository.

    Raises:
        InputError: naming the first file that is missing.
    """
    needed = ("README.md", "docs/baselines.md", "results/rows/table1")
    missing = [name for name in needed if not (root / name).exists()]
    if missing:
        raise InputError(
            f"'{root}' is no clone of this project's repository "
            f"(no {missing[0]}): go there, or name it."
        )
