"""The benchmark of cost: what its figures are made of."""

import pandas as pd
import pytest

from entropy_grounding.benchmark_cost import big_memory, interleaved
from entropy_grounding.report import cost_table


def test_ratios_are_to_the_reference_of_the_same_repeat(monkeypatch):
    now = iter([0, 1, 1, 3, 10, 12, 12, 18])  # two repeats: 1 and 2 seconds, then 2 and 6
    monkeypatch.setattr("time.perf_counter", lambda: float(next(now)))
    monkeypatch.setattr("entropy_grounding.benchmark_cost.tqdm", lambda each, **_: each)
    assert interleaved({"plain": int, "map": int}, 2, "plain") == {"plain": 1.0, "map": 2.5}


def test_a_map_of_16_000_tokens_of_the_7b_model_fits_with_checkpointing_only():
    whole, saving = big_memory(16_000).values()
    assert saving < 40 < whole
    assert big_memory(8_000)["Qwen2.5-VL 7B, map of 8,000 tokens, GB"] < whole


@pytest.mark.parametrize(("limit", "kept"), [(2.2, "yes"), (2.0, "**no**"), (None, "")])
def test_the_table_says_which_limits_are_kept(limit, kept):
    found = pd.DataFrame([{"figure": "map", "value": 2.1, "limit": limit, "repeats": 7, "examples": 300, "commit": "abc"}])
    line = cost_table(found).splitlines()[2]
    assert line.split("|")[4].strip() == kept
