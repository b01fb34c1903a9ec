"""When to zoom at all, and when to keep the zoomed answer.

Both compare how unsure the model is of the first token of an answer. This is not in the paper:
there every question pays for the whole loop, and some plain answers that were right become wrong.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.records import Uncertainty
from entropy_grounding.method.budget import Limits
from entropy_grounding.method.target import log_probabilities, next_token_entropy

OFF = "off"
CALIBRATED = "calibrated"
SCORES = ("entropy", "margin", CALIBRATED)
# Names of values in the calibration of a VLM: for the benchmark at hand, or for all together.
OF_THE_BENCHMARK, OF_ALL = CHOSEN = ("benchmark", "all")


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Extensions around the loop, both off in the paper's preset.

    Thresholds and acceptance are values, or names of what the calibration of the VLM
    (``conf/calibration``) holds: "benchmark" for the benchmark at hand, "all" for all benchmarks
    together.

    Attributes:
        score: answer without zooming if this uncertainty of the plain answer's first token is at
            most ``threshold``: "off", "entropy" (nats), "margin" (1 minus the difference of the two
            largest probabilities) or "calibrated" (probability that the answer is wrong).
        threshold: -inf always zooms, inf never does.
        settle: end the zoom, before the next map, if the answer from the crops so far is at most
            this unsure by the same score; None never ends it early.
        accept: keep the zoomed answer only if this uncertainty of its first token is below that of
            the plain answer; "off" always keeps it.
        weights: of the calibrated probability: bias, per nat of entropy, per unit of margin. They
            come from the calibration together with the thresholds.
    """

    score: str = OFF
    threshold: str | float = OF_ALL
    settle: str | float | None = None
    accept: str = OFF
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse unknown names before any model runs."""
        check_choice("gate.score", self.score, (OFF, *SCORES))
        check_choice("gate.accept", self.accept, (OFF, *SCORES, *CHOSEN))

        names = ", ".join(CHOSEN)
        for name, also in (("threshold", ""), ("settle", "null, ")):
            value = getattr(self, name)
            if isinstance(value, str) and value not in CHOSEN:
                raise InputError(f"Unknown gate.{name} '{value}': use a number, {also}{names}.")
        if self.settle is not None and self.score == OFF:
            raise InputError(
                "gate.settle is set and gate.score is off: choose a score, entropy for example."
            )


def uncertainty(logits: Float[Tensor, " vocabulary"]) -> Uncertainty:
    """Return how unsure next-token logits are: entropy in nats, and margin in [0, 1]."""
    first, second = log_probabilities(logits).topk(2).values.exp()
    return Uncertainty(float(next_token_entropy(logits)), float(1 - (first - second)))


def score(unsure: Uncertainty, name: str, weights: tuple[float, ...] | None = None) -> float:
    """Return one of `SCORES`.

    "calibrated" is the logistic function of the weighted entropy and margin.

    Raises:
        InputError: for "calibrated" without weights.
    """
    if name != CALIBRATED:
        return float(getattr(unsure, name))
    if weights is None:
        raise InputError(
            "method.gate asks for calibrated scores and has no weights: "
            "run eg calibrate, or use entropy."
        )

    bias, entropy, margin = weights
    return float(1 / (1 + np.exp(-(bias + entropy * unsure.entropy + margin * unsure.margin))))


def is_sure(unsure: Uncertainty, options: GateOptions, *, zoomed: bool) -> bool:
    """Tell whether an answer stands without another map.

    Args:
        unsure: of the answer's first token.
        options: of the gate.
        zoomed: whether the answer comes from crops, or is the plain one.
    """
    name, limit = ("settle", options.settle) if zoomed else ("threshold", options.threshold)
    _refuse_names(name, limit)

    return limit is not None and score(unsure, options.score, options.weights) <= float(limit)


def accepts(plain: Uncertainty, zoomed: Uncertainty, options: GateOptions) -> bool:
    """Tell whether the zoomed answer replaces the plain one."""
    _refuse_names("accept", options.accept)

    before = score(plain, options.accept, options.weights)
    return score(zoomed, options.accept, options.weights) < before


def _refuse_names(name: str, value: object) -> None:
    """Refuse a name where a value is needed; `calibrated` puts values in place of names."""
    if value in CHOSEN:
        raise InputError(
            f"method.gate.{name} is '{value}', "
            "which only a VLM's calibration knows: use a value here."
        )


# --- The calibration of a VLM ---


@dataclass(frozen=True)
class Calibration:
    """The thresholds that are stored for a VLM.

    Attributes:
        weights: of the probability that an answer is wrong: bias, per nat of entropy, per unit of
            margin.
        threshold: by score, then by benchmark or "all": up to which uncertainty a plain answer
            stands.
        settle: by score, then by benchmark or "all": up to which one a zoomed answer stands without
            another map.
        accept: by benchmark or "all": the score by which a zoomed answer is kept, or "off".
        budgets: by benchmark or "all": thresholds of the cascade, the cheapest first.
    """

    weights: tuple[float, ...]
    threshold: dict[str, dict[str, float]] = field(default_factory=dict)
    settle: dict[str, dict[str, float]] = field(default_factory=dict)
    accept: dict[str, str] = field(default_factory=dict)
    budgets: dict[str, list[Limits]] = field(default_factory=dict)


def calibration_path(vlm: str) -> Path:
    """Return the file of a VLM's calibration."""
    return CONF_DIR / "calibration" / f"{vlm}.yaml"


def calibrated(options: GateOptions, vlm: str, benchmark: str | None = None) -> GateOptions:
    """Return the options with values from the calibration of a VLM in place of names.

    Args:
        options: of the gate.
        vlm: name of the VLM.
        benchmark: name of the benchmark; without one, the values for all together are taken.

    Raises:
        InputError: for a VLM without a calibration, or without one for this benchmark.
    """
    used = ("accept",) if options.score == OFF else ("threshold", "settle", "accept")
    named = [name for name in used if getattr(options, name) in CHOSEN]
    weighted = options.weights is None and CALIBRATED in (options.score, options.accept)
    if not named and not weighted:
        return options

    stored = stored_calibration(vlm, "method.gate")
    values = {}
    for name in named:
        by_benchmark = stored[name] if name == "accept" else stored[name].get(options.score)
        values[name] = _value(by_benchmark, getattr(options, name), vlm, benchmark)
    filled = replace(options, **values)

    if filled.weights is None and CALIBRATED in (filled.score, filled.accept):
        return replace(filled, weights=tuple(stored["weights"]))
    return filled


def stored_calibration(vlm: str, asked: str) -> Any:
    """Return the stored calibration of a VLM.

    Raises:
        InputError: without one, naming the option that asks for it.
    """
    path = calibration_path(vlm)
    if not path.exists():
        raise InputError(
            f"{asked} needs a calibration of '{vlm}', which has none: run eg calibrate vlm={vlm}"
        )
    return OmegaConf.to_container(OmegaConf.load(path))


def _value(by_benchmark: dict[str, Any], asked: str, vlm: str, benchmark: str | None) -> Any:
    """Return the value for a benchmark, or for all."""
    key = benchmark if asked == OF_THE_BENCHMARK and benchmark else OF_ALL
    if key not in by_benchmark:
        known = ", ".join(by_benchmark)
        raise InputError(
            f"The calibration of '{vlm}' has nothing for '{key}', "
            f"only for {known}: use method=gated_all."
        )
    return by_benchmark[key]
