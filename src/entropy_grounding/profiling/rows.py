"""What the seconds of an evaluation are spent on, row by row: the model, and everything else."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pandas as pd

from entropy_grounding.core.config import compose_config
from entropy_grounding.evaluation.config import EvaluateConfig, resolved
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.vlm.ledger import synchronize
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM

# Methods of a VLM, by the stage that they are.
STAGES = {
    "processor": ("processed",),
    "vision tower": ("features",),
    "forward": ("run", "continue_from", "run_from_layer"),
    "backward": ("backward",),
    "decode": ("generate",),
}
MODEL = ("vision tower", "forward", "backward", "decode")
OUTSIDE = "outside the model"


class Clock:
    """Seconds by stage; a stage inside another one counts for itself alone.

    Attributes:
        seconds: by name of the stage.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._inner: list[float] = []  # seconds of stages inside those that run now

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Count a block as a stage."""
        self._inner.append(0.0)
        start = time.perf_counter()
        try:
            yield
            synchronize()
        finally:
            whole = time.perf_counter() - start
            self.seconds[stage] += whole - self._inner.pop()
            if self._inner:
                self._inner[-1] += whole


def timed(vlm: VLM, clock: Clock) -> VLM:
    """Let the methods of a VLM, this object only, count on a clock; return the VLM."""
    for stage, names in STAGES.items():
        for name in names:
            setattr(vlm, name, _counted(getattr(vlm, name), stage, clock))
    return vlm


def _counted(method: Callable[..., Any], stage: str, clock: Clock) -> Callable[..., Any]:
    @wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        with clock.running(stage):
            return method(*args, **kwargs)

    return run


def row_seconds(vlm: str, benchmark: str, method: str, examples: int) -> pd.DataFrame:
    """Evaluate some examples, and return what their seconds were spent on.

    The first examples are answered once before, so that nothing is counted that is done once.

    Args:
        vlm: name from ``conf/vlm``.
        benchmark: name from ``conf/benchmark``.
        method: name from ``conf/method``.
        examples: number of examples.

    Returns:
        One row per stage: ``stage``, ``seconds`` (of one example) and ``share`` of its time. Stage
        "outside the model" is all but vision tower, forward, backward and decode: what two rows
        would be apart if the model took no time.
    """
    options = [f"vlm={vlm}", f"benchmark={benchmark}", f"method={method}", "tracking=disabled"]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        model = None
        for name, count in (("warm", 1), ("measured", examples)):
            config = _config([*options, f"benchmark.examples={count}"], name, folder)
            if model is None:
                model = load_vlm(config.vlm)
                evaluate(config, model)
                continue
            start = time.perf_counter()
            rows = evaluate(config, timed(model, clock))
            whole = time.perf_counter() - start

    return _table(clock, whole, len(rows))


def _config(options: list[str], name: str, folder: str) -> EvaluateConfig:
    given = [*options, f"results_dir={folder}/{name}", "method_name=measured"]
    return resolved(compose_config(given, "evaluate", EvaluateConfig))


def _table(clock: Clock, whole: float, rows: int) -> pd.DataFrame:
    """Return the table of `row_seconds`."""
    outside = whole - sum(clock.seconds[stage] for stage in MODEL)
    seconds = {**clock.seconds, OUTSIDE: outside, "all": whole}
    lines = [
        {"stage": stage, "seconds": spent / rows, "share": spent / whole}
        for stage, spent in seconds.items()
    ]
    return pd.DataFrame(lines)
