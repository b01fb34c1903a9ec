"""Twins of the released shapes: the checks of tests/gpu and `eg profile passes`, on a CPU."""

import pandas as pd
import pytest
import torch

from entropy_grounding.commands.catalogue import parsed
from entropy_grounding.commands.profile import passes
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import RESULTS
from entropy_grounding.experiments.estimate import GPU_PASSES
from entropy_grounding.profiling import released
from entropy_grounding.profiling.random_vlm import SHAPES, twin
from entropy_grounding.profiling.released import (
    GATED,
    GATED_ROUNDS,
    GROUNDING,
    TWIN,
    measure_released,
    released_table,
)
from support.released import (
    built,
    check_budget,
    check_checkpointing,
    check_finite_differences,
    check_kernel,
    check_logits,
    check_precision,
)

NAMES = list(SHAPES)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_gpu_checks_holds_for_the_twin(name):
    vlm = built(name, twin(SHAPES[name]))
    check_logits(vlm)
    check_finite_differences(vlm)
    check_checkpointing(vlm)
    check_kernel(vlm, "eager")
    check_precision(built(name, twin(SHAPES[name]), dtype=torch.bfloat16))


def test_a_grounding_of_the_twin_runs_with_checkpointing():
    assert check_budget(built("llava_1_5_7b", twin(SHAPES["llava_1_5_7b"])))


def test_the_figures_of_twins_are_stored_and_those_of_a_gpu_stay(tmp_path, monkeypatch):
    path = tmp_path / GPU_PASSES
    gpu = {"vlm": "llava_1_5_7b", "figure": GROUNDING, "value": 2.0, "device": "NVIDIA H100"}
    pd.DataFrame([gpu]).to_json(path, orient="records")

    rows = measure_released(path, ["llava_1_5_7b"], repeats=1)
    again = measure_released(path, ["llava_1_5_7b"], repeats=1)
    assert len(rows) == len(again) == len(pd.read_json(path))
    assert rows["device"].value_counts()["NVIDIA H100"] == 1

    measured = rows[rows["device"] == TWIN].set_index("figure")["value"]
    assert measured[GATED] > 0
    table = released_table(rows)
    assert "**2**" in table  # above the limit of 1.9
    assert table.count("not run") >= len(NAMES) - 1


def test_a_card_without_figures_is_not_run(tmp_path):
    rows = pd.DataFrame([{"vlm": NAMES[0], "figure": GROUNDING, "value": 1.7, "device": TWIN}])
    first, second = released_table(rows).splitlines()[2:]
    assert first.count("not run") == len(NAMES)
    assert "1.7" in second


def test_an_unknown_model_is_refused(tmp_path):
    options = parsed("profile", ["passes", "--models", "llava", "--results", str(tmp_path)])
    with pytest.raises(InputError, match="--models"):
        passes(options)


def test_the_gated_mix_has_the_rounds_of_the_stored_rows():
    rows = pd.concat(
        pd.read_parquet(path, columns=["method", "rounds"])
        for path in sorted((RESULTS / "rows" / "gate").glob("*.parquet"))
    )
    rounds = rows.loc[rows["method"] == "gated", "rounds"].clip(upper=released.ROUNDS)
    shares = rounds.value_counts(normalize=True).sort_index()
    assert tuple(shares) == pytest.approx(GATED_ROUNDS, abs=0.006)
