"""What a rerun will do, and how long it takes."""

import pandas as pd

from entropy_grounding.benchmarks.load import boxes_note
from entropy_grounding.evaluation.archive import load_rows, stored_folder, stored_index
from entropy_grounding.evaluation.config import results_folder
from entropy_grounding.evaluation.coverage import coverage
from entropy_grounding.experiments.config import STORED, ExperimentConfig, evaluations

START = 12.0  # seconds that a cell takes before its first example


def planned(setup: ExperimentConfig) -> pd.DataFrame:
    """Return what there is to do, a row a VLM, benchmark and variant: ``missing`` examples, and estimated ``seconds`` (NaN: unknown).

    Estimates are the mean seconds an example of rows of the same VLM, benchmark and method that came with the repository.
    """
    index = stored_index(setup.results_dir)
    lines = []
    for variant, config in evaluations(setup):
        complete = stored_folder(config, index) is not None
        examples, folder = config.benchmark.examples, results_folder(config)
        missing = (
            0 if complete else coverage(folder, examples).missing if folder.is_dir() else examples
        )
        each = _seconds_each(config.vlm.name, config.benchmark.name, variant.method)
        names = {"vlm": config.vlm.name, "benchmark": config.benchmark.name, "method": variant.name}
        seconds = 0.0 if missing == 0 else each * (missing or float("nan"))
        lines.append(
            {
                **names,
                "complete": complete,
                "missing": missing,
                "seconds": seconds,
                "note": boxes_note(config.benchmark),
            }
        )
    return pd.DataFrame(lines)


def _seconds_each(vlm: str, benchmark: str, method: str) -> float:
    for name in (method, "entropy_gradient"):
        folder = STORED / "table1" / vlm / benchmark / name
        if (folder / "rows.parquet").is_file():
            return float(load_rows(folder)[0]["seconds"].mean())
    return float("nan")


def plan_text(plan: pd.DataFrame) -> str:
    """Return the plan as a table, a line a cell, with the time that it takes one process, and which data have no boxes."""
    cells = plan.groupby(["vlm", "benchmark"], sort=False)
    lines = [
        {
            "vlm": vlm,
            "benchmark": benchmark,
            "methods": len(rows),
            "complete": int(rows["complete"].sum()),
            "examples to do": "all" if rows["missing"].isna().any() else int(rows["missing"].sum()),
            "estimated": _duration(
                rows["seconds"].sum(skipna=False) + START * (not rows["complete"].all())
            ),
        }
        for (vlm, benchmark), rows in cells
    ]
    total = plan["seconds"].sum(skipna=False) + START * sum(
        not rows["complete"].all() for _, rows in cells
    )
    table = pd.DataFrame(lines).to_markdown(index=False)
    notes = plan[plan["note"] != ""].groupby("note", sort=False)["benchmark"].unique()
    noted = "".join(f"{', '.join(names)}: {note}\n" for note, names in notes.items())
    return (
        f"{table}\n{noted}{len(lines)} cells, {int(plan['complete'].sum())} of {len(plan)} evaluations complete; "
        f"one process: {_duration(total)}"
    )


def _duration(seconds: float) -> str:
    if pd.isna(seconds):
        return "unknown"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
