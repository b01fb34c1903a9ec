"""Choose the thresholds of the cascade for every budget, on traces of validation rows.

A trace holds every answer that a cascade without thresholds came to. From it follows exactly what a
cascade with thresholds answers, and how many passes it takes (`replay`).
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from entropy_grounding.core.records import Attempt
from entropy_grounding.method.anytime import STAGES, TRIED
from entropy_grounding.method.budget import Limits

# Budgets that get thresholds of their own, in passes a question.
BUDGETS = (1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 25)
# What is tried: thresholds at these shares of the rows, and these numbers of candidates.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TRIES = (0, 1, 2, 4, 8, 16)


def traced(attempts: Sequence[Attempt], scores: Sequence[float]) -> str:
    """Return the column of a row that holds a trace, as JSON."""
    return json.dumps(
        [
            [STAGES.index(attempt.stage), round(attempt.entropy, 5), attempt.passes, score]
            for attempt, score in zip(attempts, scores, strict=True)
        ]
    )


@dataclass(frozen=True)
class Traces:
    """The traces of several rows; attempts that a row lacks repeat its last one.

    Attributes:
        stage: index in `STAGES`.
        entropy: of the first token, in nats.
        passes: until then.
        score: of the attempt of lowest entropy until then, in [0, 1].
        last: index of the last attempt of every row.
    """

    stage: Int[np.ndarray, "rows attempts"]
    entropy: Float[np.ndarray, "rows attempts"]
    passes: Float[np.ndarray, "rows attempts"]
    score: Float[np.ndarray, "rows attempts"]
    last: Int[np.ndarray, " rows"]

    @classmethod
    def of(cls, columns: Sequence[str]) -> "Traces":
        """Read the column ``attempts`` of rows."""
        found = [np.array(json.loads(text), dtype=float) for text in columns]
        most = max(len(trace) for trace in found)
        padded = np.stack(
            [np.pad(trace, ((0, most - len(trace)), (0, 0)), mode="edge") for trace in found]
        )  # (rows, attempts, 4)

        stage, entropy, passes, scores = np.moveaxis(padded, -1, 0)
        best = _first_lowest(entropy)
        return cls(
            stage.astype(int),
            entropy,
            passes,
            np.take_along_axis(scores, best, axis=1),
            np.array([len(trace) - 1 for trace in found]),
        )


def _first_lowest(
    entropy: Float[np.ndarray, "rows attempts"],
) -> Int[np.ndarray, "rows attempts"]:
    """Return for every attempt the index of the lowest entropy until then, the first of equals."""
    lowest = np.minimum.accumulate(entropy, axis=1)
    new = np.diff(lowest, axis=1, prepend=np.inf) < 0
    return np.maximum.accumulate(np.where(new, np.arange(entropy.shape[1]), 0), axis=1)


def replay(
    traces: Traces, limits: Limits
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return the score and the passes of every row under some thresholds."""
    thresholds = np.array([limits.plain, limits.zoomed, limits.tried])
    ends = traces.entropy <= thresholds[traces.stage]

    tried = traces.stage == STAGES.index(TRIED)
    ends |= _no_more(tried, limits.tries)

    first = np.where(ends.any(axis=1), ends.argmax(axis=1), traces.last)
    rows = np.arange(len(first))
    at = np.minimum(first, traces.last)
    return traces.score[rows, at], traces.passes[rows, at]


def _no_more(
    tried: Bool[np.ndarray, "rows attempts"], tries: int
) -> Bool[np.ndarray, "rows attempts"]:
    """Tell behind which attempts no further candidate is tried."""
    so_far = tried.cumsum(axis=1)
    next_is_tried = np.pad(tried[:, 1:], ((0, 0), (0, 1)))
    return next_is_tried & (so_far >= tries)


def choose_limits(traces: Traces) -> list[Limits]:
    """Return the thresholds of the highest mean score for each of `BUDGETS`, the cheapest first.

    A budget that gains nothing over a cheaper one has none.
    """
    found = [_measured(traces, *values) for values in _grid(traces)]

    chosen: list[Limits] = []
    for budget in BUDGETS:
        affordable = [limits for limits in found if limits.passes <= budget]
        if not affordable:
            continue
        best = max(affordable, key=lambda limits: (limits.score, -limits.passes))
        if not chosen or best.score > chosen[-1].score:
            chosen.append(best)
    return chosen


def _grid(traces: Traces) -> "itertools.product[tuple[Any, ...]]":
    """Yield the thresholds that are tried: plain, zoomed, tried, and the number of candidates."""
    values = []
    for index in range(len(STAGES)):
        entropies = traces.entropy[traces.stage == index]
        cuts = np.quantile(entropies, SHARES[1:-1]) if len(entropies) else ()
        values.append((-1.0, *(round(float(cut), 4) for cut in cuts), np.inf))

    return itertools.product(*values, TRIES)


def _measured(traces: Traces, plain: float, zoomed: float, tried: float, tries: int) -> Limits:
    """Return thresholds with the mean score and passes that they give."""
    limits = Limits(0.0, 0.0, plain, zoomed, tried, tries)
    score, passes = replay(traces, limits)
    return Limits(
        round(float(passes.mean()), 3), round(float(score.mean()), 4), plain, zoomed, tried, tries
    )
