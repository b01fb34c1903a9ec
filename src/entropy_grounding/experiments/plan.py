"""What a rerun will do, and how long it will take."""

from dataclasses import replace

import pandas as pd

from entropy_grounding.benchmarks.load import boxes_note
from entropy_grounding.evaluation.archive import (
    PUBLISHED,
    stored_folder,
    stored_index,
)
from entropy_grounding.evaluation.config import EvaluateConfig, results_folder
from entropy_grounding.evaluation.coverage import coverage
from entropy_grounding.experiments.config import ExperimentConfig, evaluations
from entropy_grounding.experiments.doctor import Doctor
from entropy_grounding.experiments.estimate import example_count, seconds_each

START = 12.0  # seconds that a job takes before its first example


def planned(setup: ExperimentConfig) -> pd.DataFrame:
    """Return what there is to do, with one row per VLM, benchmark and variant.

    Times are estimated (`seconds_each`), memory is computed (`need_of`).

    Returns:
        A table with the columns ``vlm``, ``benchmark``, ``method``, ``complete``, ``missing`` (the
        number of examples), ``seconds`` and ``source`` (where the time comes from), ``fetch``
        (bytes to fetch from the hub), ``memory`` (gigabytes), ``note`` (on missing boxes) and
        ``published`` (whether the repository's own rows hold the evaluation). NaN: unknown.
    """
    index = stored_index(setup.results_dir)
    published = stored_index(PUBLISHED)
    doctor = Doctor()
    lines = []

    for variant, config in evaluations(setup):
        complete = stored_folder(config, index) is not None
        missing = 0 if complete else _missing(config)
        each = seconds_each(replace(config, method_name=variant.method))

        # The number of examples may be unknown (None), and then the time is unknown too.
        seconds = 0.0 if missing == 0 else each.seconds * (missing or float("nan"))

        lines.append(
            {
                "vlm": config.vlm.name,
                "benchmark": config.benchmark.name,
                "method": variant.name,
                "complete": complete,
                "missing": missing,
                "seconds": seconds,
                "source": each.source,
                "fetch": 0.0 if complete else doctor.bytes_to_fetch(config),
                "memory": doctor.gigabytes(config),
                "note": boxes_note(config.benchmark),
                "published": stored_folder(config, published) is not None,
            }
        )

    return pd.DataFrame(lines)


def _missing(config: EvaluateConfig) -> int | None:
    """Return the number of examples that an evaluation lacks; None where it is unknown."""
    folder, examples = results_folder(config), config.benchmark.examples
    known = coverage(folder, examples).missing if folder.is_dir() else None
    return example_count(config.benchmark) if known is None else known


def plan_text(plan: pd.DataFrame, results_dir: str) -> str:
    """Return the plan as text: a table with one line per job, notes and a summary.

    The times are those of a single process. The notes say which data have no boxes, and which rows
    are counted.

    Args:
        plan: from `planned`.
        results_dir: folder of the rows that count.
    """
    lines, starts = [], 0
    for (vlm, benchmark), rows in plan.groupby(["vlm", "benchmark"], sort=False):
        # A complete job does not start at all.
        start = not rows["complete"].all()
        starts += start

        unknown = rows["missing"].isna().any()
        lines.append(
            {
                "vlm": vlm,
                "benchmark": benchmark,
                "methods": len(rows),
                "complete": int(rows["complete"].sum()),
                "examples to do": "all" if unknown else int(rows["missing"].sum()),
                "estimated": _duration(rows["seconds"].sum(skipna=False) + START * start),
                "to fetch, GB": _gigabytes(rows["fetch"].max(skipna=False) / 1e9),
                "memory, GB": _gigabytes(rows["memory"].max(skipna=False)),
            }
        )

    total = plan["seconds"].sum(skipna=False) + START * starts
    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)

    # One line per note, with the benchmarks that it is about.
    notes = plan[plan["note"] != ""].groupby("note", sort=False)["benchmark"].unique()
    noted = "".join(f"{', '.join(names)}: {note}\n" for note, names in notes.items())

    elsewhere = sorted(set(plan["source"][plan["source"].str.contains("measured on")]))
    noted += "".join(f"estimated: {source}\n" for source in elsewhere)

    if plan["fetch"].isna().any():
        noted += "to fetch: the hub does not answer here (eg doctor says why)\n"

    # Which of the two places of rows is counted.
    published = int((plan["published"] & ~plan["complete"]).sum())
    noted += f"counted: the rows in {results_dir}"
    if published:
        noted += (
            f"; {published} more evaluations are published in results/rows, "
            "which notebooks show and a rerun computes again"
        )

    return (
        f"{table}\n{noted}\n{len(lines)} cells, "
        f"{int(plan['complete'].sum())} of {len(plan)} evaluations complete; "
        f"one process: {_duration(total)}"
    )


def _duration(seconds: float) -> str:
    """Return a time as text, in hours or minutes."""
    if pd.isna(seconds):
        return "unknown"

    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _gigabytes(value: float) -> str:
    """Return gigabytes as text."""
    return "unknown" if pd.isna(value) else f"{value:.1f}"
