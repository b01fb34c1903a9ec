"""When to zoom at all, and when to keep the zoomed answer: both compare how unsure the model is of its first token.

Not in the paper: there every question pays for the whole loop, and some plain answers that were right become wrong.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from omegaconf import OmegaConf
from torch import Tensor

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.records import Uncertainty
from entropy_grounding.method.target import log_probabilities, next_token_entropy

OFF = "off"
CALIBRATED = "calibrated"
SCORES = ("entropy", "margin", CALIBRATED)
OF_THE_BENCHMARK, OF_ALL = CHOSEN = ("benchmark", "all")  # what the calibration of the VLM chose


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Extensions around the loop, both off in the paper's preset.

    Thresholds and acceptance are values, or names of what the VLM's calibration (``conf/calibration``) chose: "benchmark" for that of the
    benchmark, "all" for that of all benchmarks together.

    Attributes:
        score: answer at once where this uncertainty of the plain answer's first token is at most ``threshold``: "off", "entropy" (nats),
            "margin" (1 minus the difference of the two largest probabilities) or "calibrated" (probability that the answer is wrong).
        threshold: -inf zooms always, inf never.
        settle: end the zoom, before the next map, where the answer from the crops so far is at most this unsure by the same score; None
            for no such end.
        accept: keep the zoomed answer only where this uncertainty of its first token is below that of the plain answer; "off" keeps it.
        weights: of the calibrated probability: bias, a nat of entropy, a unit of margin; from the calibration where thresholds are.
    """

    score: str = OFF
    threshold: str | float = OF_ALL
    settle: str | float | None = None
    accept: str = OFF
    weights: tuple[float, ...] | None = None


def uncertainty(logits: Float[Tensor, " vocabulary"]) -> Uncertainty:
    """Return how unsure next-token logits are."""
    best = log_probabilities(logits).topk(2).values.exp()
    return Uncertainty(float(next_token_entropy(logits)), float(1 - (best[0] - best[1])))


def score(found: Uncertainty, name: str, weights: tuple[float, ...] | None = None) -> float:
    """Return one of `SCORES`; "calibrated" is the logistic function of the weighted entropy and margin.

    Raises:
        InputError: for "calibrated" without weights.
    """
    if name != CALIBRATED:
        return float(getattr(found, name))
    if weights is None:
        raise InputError(
            "method.gate asks for calibrated scores and has no weights: run entropy_grounding.calibrate, or use entropy."
        )
    bias, entropy, margin = weights
    return float(1 / (1 + np.exp(-(bias + entropy * found.entropy + margin * found.margin))))


def is_sure(found: Uncertainty, options: GateOptions, *, zoomed: bool) -> bool:
    """Tell whether an answer stands without another map: the plain one, or one from crops (``zoomed``)."""
    name, limit = ("settle", options.settle) if zoomed else ("threshold", options.threshold)
    _refuse_names(name, limit)
    return limit is not None and score(found, options.score, options.weights) <= float(limit)


def accepts(plain: Uncertainty, zoomed: Uncertainty, options: GateOptions) -> bool:
    """Tell whether the zoomed answer replaces the plain one."""
    _refuse_names("accept", options.accept)
    return score(zoomed, options.accept, options.weights) < score(
        plain, options.accept, options.weights
    )


def _refuse_names(name: str, value: object) -> None:
    if value in CHOSEN:
        raise InputError(
            f"method.gate.{name} is '{value}', which only a VLM's calibration knows: use a value here."
        )


def check_gate(options: GateOptions) -> None:
    """Refuse unknown names.

    Raises:
        InputError: naming the option, its value and what to use.
    """
    names = ", ".join(CHOSEN)
    for name, known in (("score", (OFF, *SCORES)), ("accept", (OFF, *SCORES, *CHOSEN))):
        if getattr(options, name) not in known:
            raise InputError(
                f"Unknown gate.{name} '{getattr(options, name)}': use one of {', '.join(known)}."
            )
    for name, also in (("threshold", ""), ("settle", "null, ")):
        value = getattr(options, name)
        if isinstance(value, str) and value not in CHOSEN:
            raise InputError(f"Unknown gate.{name} '{value}': use a number, {also}{names}.")
    if options.settle is not None and options.score == OFF:
        raise InputError(
            "gate.settle is set and gate.score is off: choose a score, entropy for example."
        )


@dataclass(frozen=True)
class Calibration:
    """What is stored for a VLM.

    Attributes:
        weights: of the probability that an answer is wrong: bias, a nat of entropy, a unit of margin.
        threshold: by score, then by benchmark or "all": up to which uncertainty a plain answer stands.
        settle: by score, then by benchmark or "all": up to which one a zoomed answer stands without another map.
        accept: by benchmark or "all", the score by which a zoomed answer is kept, or "off".
    """

    weights: tuple[float, ...]
    threshold: dict[str, dict[str, float]] = field(default_factory=dict)
    settle: dict[str, dict[str, float]] = field(default_factory=dict)
    accept: dict[str, str] = field(default_factory=dict)


def calibration_path(vlm: str) -> Path:
    """Return the file of a VLM's calibration."""
    return CONF_DIR / "calibration" / f"{vlm}.yaml"


def calibrated(options: GateOptions, vlm: str, benchmark: str | None = None) -> GateOptions:
    """Fill in what the options leave to the calibration of a VLM; without a benchmark, what was chosen for all together.

    Raises:
        InputError: where it has none, or none for this benchmark.
    """
    used = ("accept",) if options.score == OFF else ("threshold", "settle", "accept")
    named = [name for name in used if getattr(options, name) in CHOSEN]
    if not named and (options.weights or CALIBRATED not in (options.score, options.accept)):
        return options
    path = calibration_path(vlm)
    if not path.exists():
        raise InputError(
            f"method.gate needs a calibration of '{vlm}', which has none: run python -m entropy_grounding.calibrate vlm={vlm}"
        )
    stored: Any = OmegaConf.to_container(OmegaConf.load(path))
    by_score = {name: stored[name].get(options.score) for name in ("threshold", "settle")}
    chosen = by_score | {"accept": stored["accept"]}
    found = replace(
        options,
        **{name: _of(chosen[name], getattr(options, name), vlm, benchmark) for name in named},
    )
    weighted = found.weights is None and CALIBRATED in (found.score, found.accept)
    return replace(found, weights=tuple(stored["weights"])) if weighted else found


def _of(chosen: dict[str, Any], asked: str, vlm: str, benchmark: str | None) -> Any:
    """Return what was chosen for a benchmark, or for all."""
    key = benchmark if asked == OF_THE_BENCHMARK and benchmark else OF_ALL
    if key not in chosen:
        known = ", ".join(chosen)
        raise InputError(
            f"The calibration of '{vlm}' has nothing for '{key}', only for {known}: use method=gated_all."
        )
    return chosen[key]
