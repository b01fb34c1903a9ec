"""A small experiment, and rows of its evaluations with scores that a test chooses."""

from dataclasses import replace

import numpy as np
import pandas as pd

from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.evaluation.config import run_manifest
from entropy_grounding.experiments.config import load_experiment

N = 20


def stored(folder, config, scores, plain):
    rows = pd.DataFrame(
        {
            "example_id": [str(n) for n in range(N)],
            "number": range(N),
            "status": "ok",
            "score": np.asarray(scores, float),
        }
    )
    rows["plain_score"] = np.asarray(plain, float)
    for name in (
        "iou",
        "best_iou",
        "pointing",
        "energy",
        "chance",
        "visual_tokens",
        "seconds",
        "forwards",
        "backwards",
    ):
        rows[name] = 1.0
    return write_results(folder, rows, run_manifest(config))


def small_experiment(folder):
    found = load_experiment(
        "table1",
        "smoke",
        results_dir=str(folder / "own"),
        benchmark="mini_gqa",
        method="entropy_gradient,control_oracle",
    )
    return replace(found, run=replace(found.run, examples=N))
