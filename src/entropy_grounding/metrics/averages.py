"""Published scores of whole benchmarks that are more than the mean of all rows.

They equal that mean only where all parts have as many rows: not for a sample of the rows, and not
after rows have failed.
"""

from collections.abc import Sequence

import pandas as pd

from entropy_grounding.core.errors import InputError


def rotation_means(
    scores: Sequence[float], rotations: Sequence[str], groups: Sequence[str]
) -> dict[str, float]:
    """Return the scores of HR-Bench: first the mean of each rotation, then the mean of these.

    The authors' code and lmms-eval compute this alike, for each category and for all rows
    together. (The rows differ: the authors let a language model judge each answer, and lmms-eval
    asks one where it reads no letter.) A rotation without rows does not count.

    Args:
        scores: one per row.
        rotations: the cyclic order of options that a row shows.
        groups: categories of the rows.

    Returns:
        The score of each category, and of "all".

    Raises:
        InputError: for lists of different lengths.
    """
    rows = _table(scores, rotation=rotations, group=groups)
    parts = {str(name): part for name, part in rows.groupby("group")}

    found = {}
    for name, part in {**parts, "all": rows}.items():
        found[name] = float(part.groupby("rotation")["score"].mean().mean())
    return found


def task_means(scores: Sequence[float], groups: Sequence[str]) -> dict[str, float]:
    """Return the scores of MME-RealWorld: for each task, over its questions and over its domains.

    The first is the mean of the task's rows ("Avg" of the authors), the second the mean of the
    means of its domains ("Avg-C"). The overall accuracy is the mean of all rows.

    Args:
        scores: one per row.
        groups: categories of the rows, "TASK/DOMAIN".

    Raises:
        InputError: for lists of different lengths.
    """
    tasks = [group.partition("/")[0] for group in groups]
    rows = _table(scores, task=tasks, group=groups)

    found = {}
    for task, part in rows.groupby("task"):
        found[str(task)] = float(part["score"].mean())
        found[f"{task} by domain"] = float(part.groupby("group")["score"].mean().mean())
    return found


def _table(scores: Sequence[float], **columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows as a table, or refuse lists of different lengths."""
    lengths = {len(scores), *(len(values) for values in columns.values())}
    if len(lengths) > 1:
        raise InputError(
            f"{len(scores)} scores, and values of {' and '.join(map(str, sorted(lengths)))} rows: "
            "pass one of each per row."
        )
    return pd.DataFrame({"score": list(scores), **columns})
