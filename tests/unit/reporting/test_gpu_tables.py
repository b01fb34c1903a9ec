"""The tables of cards: a figure that no card gave is not run."""

from pathlib import Path

import pandas as pd

from entropy_grounding.core.paths import ROOT
from entropy_grounding.evaluation.archive import write_summary
from entropy_grounding.experiments.estimate import GPU_PASSES
from entropy_grounding.profiling.random_vlm import SHAPES
from entropy_grounding.profiling.released import GPU_CHECKS, GPU_LIMITS, TWIN
from entropy_grounding.reporting.gpu_tables import CHECKS, gpu_checks, gpu_figures

ABOUT = {"device": "NVIDIA H100", "torch": "2", "transformers": "5", "commit": "abc", "repeats": 3}


def measured(root: Path) -> Path:
    return root / "results" / "measured"


def lines_of(table):
    return {line.split("|")[1].strip(): line for line in table.splitlines() if "|" in line}


def test_a_check_that_no_card_ran_is_not_run(tmp_path):
    (check, figures, text), (kernel, _, kernel_text) = CHECKS[0], CHECKS[4]
    first, second, *_ = SHAPES
    rows = [
        {"vlm": first, "check": check, "outcome": "passed", "why": "", "figure": name, "value": 0.5}
        for name in figures
    ]
    skipped = {"outcome": "skipped", "why": "no library", "figure": "", "value": None}
    rows.append({"vlm": second, "check": kernel, **skipped})
    write_summary(measured(tmp_path) / GPU_CHECKS, pd.DataFrame(rows))

    lines = lines_of(gpu_checks(tmp_path))
    assert "0.5, 0.5" in lines[text]
    assert lines[text].count("not run") == len(SHAPES) - 1
    assert "skipped: no library" in lines[kernel_text]


def test_figures_name_card_repeats_and_a_limit_that_is_not_kept(tmp_path):
    (vlm, figure), limit = next(iter(GPU_LIMITS.items()))
    row = {"vlm": vlm, "figure": figure, "value": limit + 0.5, **ABOUT}
    write_summary(measured(tmp_path) / GPU_PASSES, pd.DataFrame([row]))

    said = gpu_figures(tmp_path)
    assert "**not kept**" in said
    assert "on an NVIDIA H100; torch 2, transformers 5, commit abc" in said
    assert f"`{vlm}` 3." in said


def test_twins_are_no_card(tmp_path):
    assert gpu_figures(tmp_path) == gpu_checks(tmp_path) == "Not run."
    row = {"vlm": "llava_1_5_7b", "figure": "map, s", "value": 1.0, **ABOUT, "device": TWIN}
    write_summary(measured(tmp_path) / GPU_PASSES, pd.DataFrame([row]))
    assert gpu_figures(tmp_path) == "Not run."


def test_the_documents_hold_the_stored_tables():
    cost = (ROOT / "docs" / "cost.md").read_text()
    assert gpu_figures(ROOT) in cost
    assert gpu_checks(ROOT) in cost
