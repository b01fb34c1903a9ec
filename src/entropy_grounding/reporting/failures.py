"""Failures of the method, sorted by kind."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from entropy_grounding.benchmarks.names import display_name
from entropy_grounding.core.geometry import Box
from entropy_grounding.evaluation.budgets import COVERED, read_traces
from entropy_grounding.metrics.localization import overlap

# Kinds of failures. HARMED is tested first, then MISSED and CUT; MISREAD is what remains.
MISSED = "some evidence is in no crop"
CUT = "evidence is cut off"
HARMED = "a right answer got lost"
MISREAD = "seen and misread"

# Kinds of what the oracle's crops answer and a method does not, by what its attempts showed.
ELSEWHERE = "no attempt shows it"
ONLY_CUT = "attempts show a part"
NOT_CHOSEN = "shown, not chosen"
NOT_READ = "shown, not read"
REACHABLE_KINDS = (ELSEWHERE, ONLY_CUT, NOT_CHOSEN, NOT_READ)
_WHOLE = 0.9  # of the evidence: up to a tenth of it may be outside of the crops

# The rows and the manifest of each (VLM, benchmark).
Evaluations = Mapping[tuple[str, str], tuple[pd.DataFrame, dict[str, Any]]]


def failures(method: Evaluations, oracle: Evaluations) -> pd.DataFrame:
    """Return the wrong answers of all evaluations that could have been right.

    An answer could have been right if the plain answer or the answer from the oracle's crops is
    right.

    Args:
        method: the evaluations of the method.
        oracle: the evaluations of the same examples with the oracle's crops.

    Returns:
        The rows of these answers, with the columns ``vlm``, ``benchmark`` and ``kind``.
    """
    parts = []
    for (vlm, benchmark), (rows, _) in method.items():
        found = _failures_among(rows, oracle[vlm, benchmark][0])
        parts.append(found.assign(vlm=vlm, benchmark=benchmark))

    return pd.concat(parts, ignore_index=True)


def failures_by_kind(found: pd.DataFrame) -> pd.DataFrame:
    """Count the `failures`: one row per VLM and benchmark, one column per kind."""
    return pd.crosstab([found["vlm"], found["benchmark"].map(display_name)], found["kind"])


def _failures_among(rows: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """Return the `failures` of one evaluation, with their ``kind``."""
    both = rows.merge(oracle[["example_id", "score"]], on="example_id", suffixes=("", "_oracle"))

    # A score of one half or more counts as right.
    wrong = both[
        (both["status"] == "ok")
        & (both["score"] < 0.5)
        & ((both["score_oracle"] >= 0.5) | (both["plain_score"] >= 0.5))
    ]

    return wrong.assign(kind=[_kind(row) for row in wrong.itertuples()])


def _kind(row: Any) -> str:
    """Return the kind of a failure, from its plain score and the evidence that its crops cover."""
    if row.plain_score >= 0.5:
        return HARMED

    covered = _covered(row.crops, row.evidence)
    if covered == 0:
        return MISSED

    return CUT if covered < _WHOLE else MISREAD


def reachable_failures(rows: pd.DataFrame, oracle: pd.DataFrame) -> pd.DataFrame:
    """Return what the oracle's crops answer and a method does not, with its kind.

    An attempt is a round of the zoom, or any answer that a cascade came to (``attempts``). Answers
    without boxes of evidence, such as "no" for an absent object, have no kind and are left out.

    Args:
        rows: of one evaluation.
        oracle: rows of the same examples with the oracle's crops.
    """
    both = rows.merge(oracle[["example_id", "score"]], on="example_id", suffixes=("", "_oracle"))
    wrong = both[
        (both["status"] == "ok")
        & (both["score"] < 0.5)
        & (both["score_oracle"] >= 0.5)
        & (both["evidence"].map(len) > 0)
    ]

    return wrong.assign(kind=[_reachable_kind(row) for row in wrong.itertuples()])


def _reachable_kind(row: Any) -> str:
    """Return the kind of a `reachable_failures`, one of `REACHABLE_KINDS`."""
    chosen = _covered(row.crops, row.evidence)
    if chosen >= _WHOLE:
        return NOT_READ

    if isinstance(row.attempts, str):  # missing in rows of other methods
        shown = read_traces([row.attempts])[0][:, COVERED]
    else:
        shown = np.array([_covered(crops, row.evidence) for crops in json.loads(row.round_crops)])

    most = max(chosen, *shown)
    if most >= _WHOLE:
        return NOT_CHOSEN
    return ONLY_CUT if most > 0 else ELSEWHERE


def _covered(crops: Sequence[Any], evidence: Sequence[Any]) -> float:
    """Return which share of the evidence some crops cover; all are corners in pixels."""
    boxes = [Box(*corners) for corners in evidence]
    return overlap([Box(*corners) for corners in crops], boxes).covered


def surer_of(rows: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return rows as if the answer of another method had been one more attempt.

    Of the two answers the one of lower first-token entropy is given. The other method reads the
    same first map, so its attempt costs one more pass, that of its crops.

    Args:
        rows: of one evaluation.
        other: of the same examples by another method.
    """
    columns = ["score", "crops", "answer_entropy"]
    both = rows.merge(other[["example_id", *columns]], on="example_id", suffixes=("", "_other"))
    surer = both["answer_entropy_other"] < both["answer_entropy"]

    given = {name: both[name].where(~surer, both[f"{name}_other"]) for name in columns}
    return both.assign(**given, forwards=both["forwards"] + 1)


def reachable_table(
    before: Evaluations, after: Evaluations, remedied: Evaluations, oracle: Evaluations
) -> pd.DataFrame:
    """Count the `reachable_failures` of three methods: one row per VLM and kind.

    Args:
        before: the evaluations of the paper's method.
        after: those of the cascade.
        remedied: those of the cascade with a remedy.
        oracle: those with the oracle's crops.

    Returns:
        The columns ``VLM``, ``kind``, ``before``, ``after`` and ``with remedy``.
    """
    counts = {}
    for name, method in (("before", before), ("after", after), ("with remedy", remedied)):
        found = []
        for key, (rows, _) in method.items():
            found += [(key[0], kind) for kind in reachable_failures(rows, oracle[key][0])["kind"]]
        counts[name] = pd.Series(found, dtype=object).value_counts()

    vlms = dict.fromkeys(vlm for vlm, _ in before)
    lines = []
    for vlm in vlms:
        for kind in REACHABLE_KINDS:
            line = {name: int(count.get((vlm, kind), 0)) for name, count in counts.items()}
            lines.append({"VLM": vlm, "kind": kind, **line})
    return pd.DataFrame(lines)


def remedied(method: Evaluations, attempt: Evaluations) -> Evaluations:
    """Return evaluations as if another method had been one more attempt of theirs (`surer_of`)."""
    return {
        key: (surer_of(rows, attempt[key][0]), source) for key, (rows, source) in method.items()
    }


def of_the_same_examples(method: Evaluations, others: Evaluations) -> Evaluations:
    """Return evaluations with the examples alone that others have, too."""
    shared = {}
    for key, (rows, source) in method.items():
        wanted = others[key][0]["example_id"]
        shared[key] = rows[rows["example_id"].isin(wanted)].reset_index(drop=True), source
    return shared


def scores_with_remedy(method: Evaluations, with_remedy: Evaluations) -> pd.DataFrame:
    """Return mean score in percent and mean passes without and with a remedy: one row per VLM.

    Args:
        method: the evaluations of a method.
        with_remedy: the same evaluations, `remedied`.
    """
    lines = []
    for vlm in dict.fromkeys(vlm for vlm, _ in method):
        line = {"VLM": vlm}
        for name, evaluations in (("without", method), ("with remedy", with_remedy)):
            mine = [rows for (other, _), (rows, _) in evaluations.items() if other == vlm]
            passes = [(rows["forwards"] + 2 * rows["backwards"]).mean() for rows in mine]
            scores = [rows.loc[rows["status"] == "ok", "score"].mean() for rows in mine]
            line[f"{name}: score"] = f"{100 * np.mean(scores):.1f}"
            line[f"{name}: passes"] = f"{np.mean(passes):.1f}"
        lines.append(line)
    return pd.DataFrame(lines)
