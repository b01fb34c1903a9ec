"""Choose the thresholds of the cascade for every budget, on traces of validation rows.

A trace holds every answer that a cascade without thresholds came to. From it follows exactly what a
cascade with thresholds answers, and how many passes it takes (`replay`).
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from entropy_grounding.core.records import Attempt
from entropy_grounding.method.anytime import PLAIN, STAGES, TRIED, ZOOMED
from entropy_grounding.method.budget import Limits

# Budgets that get thresholds of their own, in passes a question.
BUDGETS = (
    *(1.2, 1.5, 2, 2.5, 3, 3.25, 3.5, 3.75, 4, 4.25, 4.5, 4.75, 5, 5.25, 5.5, 6, 6.5, 7),
    *(8, 9, 10, 12, 14, 17, 20),
)
# What is tried: thresholds at these shares of the rows, numbers of candidates, and of rounds.
SHARES = tuple(number / 20 for number in range(1, 20))
TRIES = (0, 1, 2, 4, 8, 16)
ROUNDS = (1, 2, 15)

NEVER = -1.0  # nats: no entropy is that low
ALL = 1000  # more candidates than any cascade has

# Columns of rows that a replay does not know.
_NOT_TRACED = ("iou", "best_iou", "pointing", "energy", "chance", "visual_tokens", "seconds")

# The columns of a trace: index in `STAGES`, entropy of the first token in nats, passes until then,
# score in [0, 1], and the share of the evidence that the crops cover; NaN without evidence.
STAGE, ENTROPY, PASSES, SCORE, COVERED = range(5)
Trace = Float[np.ndarray, "_ 5"]


def traced(
    attempts: Sequence[Attempt], scores: Sequence[float], covered: Sequence[float | None]
) -> str:
    """Return the column of a row that holds a trace, as JSON.

    Args:
        attempts: of the cascade, in order.
        scores: of their answers.
        covered: share of the evidence that their crops cover; None without evidence.
    """
    # Four digits part all but equal answers, and eight thousand traces stay small.
    return json.dumps(
        [
            [STAGES.index(attempt.stage), float(f"{attempt.entropy:.4g}"), attempt.passes, *found]
            for attempt, *found in zip(attempts, scores, covered, strict=True)
        ]
    )


def read_traces(columns: Sequence[str]) -> list[Trace]:
    """Return the traces in the column ``attempts`` of rows."""
    return [np.array(json.loads(text), dtype=float) for text in columns]


@dataclass(frozen=True)
class Replayed:
    """What a cascade gives for every row.

    Attributes:
        score: of the answer, in [0, 1].
        passes: of the language model.
        covered: share of the evidence that the crops of the answer cover.
    """

    score: Float[np.ndarray, " rows"]
    passes: Float[np.ndarray, " rows"]
    covered: Float[np.ndarray, " rows"]


def replay(traces: Sequence[Trace], limits: Limits) -> Replayed:
    """Return what a cascade with some thresholds gives for every row."""
    return _replayed(_stacked(traces, limits.rounds), limits)


def replayed_rows(rows: pd.DataFrame, limits: Limits) -> pd.DataFrame:
    """Return the rows of a cascade without thresholds as some thresholds would have left them.

    Scores and passes are exact; what no trace tells (where it looked, tokens, seconds) is NaN.

    Args:
        rows: of an evaluation with ``budget.trace``. Those without a score stay as they are.
        limits: the thresholds.
    """
    ok = (rows["status"] == "ok").to_numpy()
    found = replay(read_traces(list(rows.loc[ok, "attempts"])), limits)

    passes = np.full(len(rows), np.nan)
    passes[ok] = found.passes
    score = rows["score"].to_numpy(float, copy=True)
    score[ok] = found.score

    unknown = dict.fromkeys(_NOT_TRACED, np.nan)
    return rows.assign(score=score, forwards=passes, backwards=0, **unknown)


@dataclass(frozen=True)
class _Stacked:
    """The traces of several rows; attempts that a row lacks repeat its last one.

    Attributes:
        found: the traces.
        best: index of the attempt of lowest entropy until then.
        last: index of the last attempt of every row.
    """

    found: Float[np.ndarray, "rows attempts 5"]
    best: Int[np.ndarray, "rows attempts"]
    last: Int[np.ndarray, " rows"]


def _stacked(traces: Sequence[Trace], rounds: int) -> _Stacked:
    """Stack traces as if the zoom had ended after some rounds."""
    shorter = [_with_rounds(trace, rounds) for trace in traces]
    last = np.array([len(trace) - 1 for trace in shorter])

    most = last.max() + 1
    found = np.stack(
        [np.pad(trace, ((0, most - len(trace)), (0, 0)), mode="edge") for trace in shorter]
    )
    return _Stacked(found, _first_lowest(found[..., ENTROPY]), last)


def _with_rounds(trace: Trace, rounds: int) -> Trace:
    """Return a trace without the rounds behind the first so many, and without their passes."""
    stage = trace[:, STAGE]
    zoomed = np.flatnonzero(stage == STAGES.index(ZOOMED))
    if len(zoomed) <= rounds:
        return trace

    shorter = trace.copy()
    saved = trace[zoomed[-1], PASSES] - trace[zoomed[rounds - 1], PASSES]
    shorter[stage == STAGES.index(TRIED), PASSES] -= saved
    return np.delete(shorter, zoomed[rounds:], axis=0)


def _first_lowest(
    entropy: Float[np.ndarray, "rows attempts"],
) -> Int[np.ndarray, "rows attempts"]:
    """Return for every attempt the index of the lowest entropy until then, the first of equals."""
    lowest = np.minimum.accumulate(entropy, axis=1)
    new = np.diff(lowest, axis=1, prepend=np.inf) < 0
    return np.maximum.accumulate(np.where(new, np.arange(entropy.shape[1]), 0), axis=1)


def _replayed(traces: _Stacked, limits: Limits) -> Replayed:
    """Return what thresholds give on traces with the right number of rounds."""
    thresholds = np.array([limits.plain, limits.zoomed, limits.tried])
    stage = traces.found[..., STAGE].astype(int)
    ends = traces.found[..., ENTROPY] <= thresholds[stage]
    ends |= _no_more(stage == STAGES.index(TRIED), limits.tries)

    first = np.where(ends.any(axis=1), ends.argmax(axis=1), traces.last)
    end = np.minimum(first, traces.last)

    rows = np.arange(len(end))
    given = traces.found[rows, traces.best[rows, end]]
    return Replayed(given[:, SCORE], traces.found[rows, end, PASSES], given[:, COVERED])


def _no_more(
    tried: Bool[np.ndarray, "rows attempts"], tries: int
) -> Bool[np.ndarray, "rows attempts"]:
    """Tell behind which attempts no further candidate is tried."""
    so_far = tried.cumsum(axis=1)
    next_is_tried = np.pad(tried[:, 1:], ((0, 0), (0, 1)))
    return next_is_tried & (so_far >= tries)


def choose_limits(traces: Sequence[Trace]) -> list[Limits]:
    """Return the thresholds of the highest mean score for each of `BUDGETS`, the cheapest first.

    A budget that gains nothing over a cheaper one has none.
    """
    tables = {rounds: _stacked(traces, rounds) for rounds in ROUNDS}
    grids = [_grid(stacked, rounds) for rounds, stacked in tables.items()]
    tried = [pair for grid, _, _ in grids for pair in grid]
    score = np.concatenate([score for _, score, _ in grids])
    passes = np.concatenate([passes for _, _, passes in grids])

    chosen: list[Limits] = []
    for budget in BUDGETS:
        # Of the highest score the cheapest; those above the budget come last.
        best = np.lexsort((passes, np.where(passes <= budget, -score, np.inf)))[0]
        before, behind = tried[best]
        pair = replace(before, tried=behind.tried, tries=behind.tries)
        limits = _measured(tables[pair.rounds], pair)
        if limits.passes <= budget and (not chosen or limits.score > chosen[-1].score):
            chosen.append(limits)
    return chosen


def _grid(
    traces: _Stacked, rounds: int
) -> tuple[list[tuple[Limits, Limits]], Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Return the thresholds that are tried, with their mean score and their mean passes.

    A pair holds those before the candidates, and those of the candidates. A cascade ends either
    before the candidates or among them, so one matrix product adds what both halves give, for all
    pairs.
    """
    before = list(itertools.product(*(_cuts(traces, stage) for stage in (PLAIN, ZOOMED))))
    behind = []
    for tried in _cuts(traces, TRIED):
        # Without candidates their threshold means nothing.
        behind += [(tried, tries) for tries in (TRIES if tried == NEVER else TRIES[1:])]

    starts = [Limits(0, 0, plain, zoomed, NEVER, ALL, rounds) for plain, zoomed in before]
    ends = [Limits(0, 0, NEVER, NEVER, tried, tries, rounds) for tried, tries in behind]
    early = [_replayed(traces, limits) for limits in starts]
    late = [_replayed(traces, limits) for limits in ends]
    stands = np.array([_stands_before(traces, *pair) for pair in before])

    means = []
    for what in ("score", "passes"):
        ended = np.array([getattr(each, what) for each in early])
        searched = np.array([getattr(each, what) for each in late])
        sums = (ended * stands).sum(axis=1)[:, None] + ~stands @ searched.T
        # Rounded, so that equal means are equal on every machine.
        means.append((sums / len(traces.last)).round(9).ravel())

    return list(itertools.product(starts, ends)), means[0], means[1]


def _cuts(traces: _Stacked, stage: str) -> tuple[float, ...]:
    """Return the thresholds that are tried for a stage, in nats."""
    found = traces.found[traces.found[..., STAGE] == STAGES.index(stage), ENTROPY]
    cuts = np.quantile(found, SHARES) if len(found) else ()
    return (NEVER, *(round(float(cut), 4) for cut in cuts), np.inf)


def _stands_before(traces: _Stacked, plain: float, zoomed: float) -> Bool[np.ndarray, " rows"]:
    """Tell for every row whether an answer before the candidates stands."""
    thresholds = np.array([plain, zoomed, NEVER])
    stage = traces.found[..., STAGE].astype(int)
    return (traces.found[..., ENTROPY] <= thresholds[stage]).any(axis=1)


def _measured(traces: _Stacked, limits: Limits) -> Limits:
    """Return thresholds with the mean score and passes that they give."""
    found = _replayed(traces, limits)
    return replace(
        limits,
        passes=round(float(found.passes.mean()), 3),
        score=round(float(found.score.mean()), 4),
    )
