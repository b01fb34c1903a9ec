"""Composites beside drawn backgrounds."""

import numpy as np
import pandas as pd
import pytest

from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.evaluation.config import EvaluateConfig, run_manifest
from entropy_grounding.reporting.composites import beside_drawn

N = 40


def stored(folder, benchmark, scores, questions):
    config = EvaluateConfig(benchmark=benchmark_config(benchmark))
    rows = pd.DataFrame({"number": range(len(scores)), "question": questions, "status": "ok"})
    rows = rows.assign(example_id=rows["number"].astype(str), best_iou=1.0, retried="")
    rows = rows.assign(plain_score=0.0, score=np.asarray(scores, float))
    return write_results(folder, rows, run_manifest(config))


@pytest.fixture
def table(tmp_path):
    def fill(composite, drawn, questions=None):
        asked = [f"question {n}" for n in range(N)]
        mine, other = tmp_path / "composite", tmp_path / "tiny_llava/mini_gqa/entropy_gradient"
        stored(mine, "mini_gqa_photo", composite, asked[: len(composite)])
        stored(other, "mini_gqa", drawn, (questions or asked)[: len(drawn)])
        key = ("tiny_llava", "mini_gqa_photo", "entropy_gradient")
        return beside_drawn({key: mine}, tmp_path)

    return fill


def cells(text):
    return [field.strip() for field in text.splitlines()[2].strip("|").split("|")]


def test_only_questions_on_both_backgrounds_count(table):
    assert cells(table([1.0] * 10, [0.0] * 5 + [1.0] * 35))[1:] == [
        "mini-GQA",
        "10",
        "0.0",
        "0.0",
        "50.0",
        "100.0",
    ]


def test_a_significant_change_of_the_background_is_marked(table):
    assert cells(table([0.0] * N, [1.0] * N))[-1] == "0.0-"


def test_another_question_under_the_same_number_is_no_pair(table):
    assert "No composite" in table([1.0], [1.0], questions=["something else"])


def test_a_vlm_without_drawn_rows_has_no_line(tmp_path):
    folder = stored(tmp_path / "own", "mini_gqa_photo", [1.0], ["question"])
    key = ("mine", "mini_gqa_photo", "entropy_gradient")
    assert "No composite" in beside_drawn({key: folder}, tmp_path)
