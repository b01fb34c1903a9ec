"""Thresholds of the gate: how they are chosen on held-out examples, and where they are kept (``conf/calibration``)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from entropy_grounding.configs import CONF_DIR
from entropy_grounding.errors import InputError
from entropy_grounding.gate import OF_ALL, OFF, GateOptions


def calibration_path(vlm: str) -> Path:
    """Return the file of a VLM's calibration."""
    return CONF_DIR / "calibration" / f"{vlm}.yaml"


def calibrated(options: GateOptions, vlm: str, benchmark: str | None = None) -> GateOptions:
    """Fill in thresholds and weights from the calibration of a VLM, where the options ask for them.

    Raises:
        InputError: where it has none, or none for this benchmark.
    """
    named = options.score != OFF and isinstance(options.threshold, str)
    weighted = options.weights is None and "calibrated" in (options.score, options.accept)
    if not named and not weighted:
        return options
    path = calibration_path(vlm)
    if not path.exists():
        raise InputError(
            f"method.gate needs a calibration of '{vlm}', and {path.name} is not in conf/calibration: run entropy_grounding.calibrate."
        )
    stored: Any = OmegaConf.to_container(OmegaConf.load(path))
    found = replace(options, weights=tuple(stored["weights"])) if weighted else options
    if not named:
        return found
    key = OF_ALL if options.threshold == OF_ALL else benchmark
    thresholds = stored["thresholds"][options.score]
    if key not in thresholds:
        raise InputError(
            f"The calibration of '{vlm}' has no threshold for '{key}', only for {', '.join(thresholds)}: use method.gate.threshold=all."
        )
    return replace(found, threshold=float(thresholds[key]))
