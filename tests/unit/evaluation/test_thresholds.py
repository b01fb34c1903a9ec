"""Thresholds of the gate: chosen from rows whose best choice is known."""

import math

import numpy as np
import pandas as pd
import pytest

from entropy_grounding.evaluation.archive import write_results
from entropy_grounding.evaluation.thresholds import (
    best_threshold,
    calibrate,
    choose_acceptance,
    choose_thresholds,
    cross_validated,
    fit_weights,
    kept_scores,
    risk_coverage,
    risk_curves,
)


def rows(plain, zoomed, before, after=None, benchmark="a", first=None, after_first=None):
    """Rows whose entropy and margin are one number.

    The answer after a round is the last one unless said otherwise, for 4 passes of 6.
    """
    after = after or [0.0] * len(plain)
    scores = {"plain": plain, "round": first or zoomed, "answer": zoomed}
    unsure = {"plain": before, "round": after_first or after, "answer": after}
    columns = {f"{which}_score": found for which, found in scores.items()}
    columns |= {
        f"{which}_{what}": found
        for which, found in unsure.items()
        for what in ("entropy", "margin")
    }
    columns |= {"plain_passes": 1, "round_passes": 4, "answer_passes": 6}
    return pd.DataFrame({"benchmark": benchmark, "example_id": range(len(plain)), **columns})


def test_plain_answers_stand_where_zooming_does_not_pay():
    found = rows([1, 1, 0, 0, 0], [1, 1, 0, 1, 1], [0.1, 0.2, 0.5, 0.8, 0.9])  # the last two gain
    assert choose_thresholds(found, "entropy", ())[0] == 0.5
    assert choose_thresholds(found, "margin", ())[0] == 0.5
    assert (
        choose_thresholds(found, "entropy", (), price=0.4)[0] == math.inf
    )  # three passes more cost more than they gain


def test_a_gate_never_zooms_where_zooming_gains_too_little():
    assert choose_thresholds(rows([1, 0], [1, 0], [0.1, 0.9]), "entropy", ()) == (
        math.inf,
        math.inf,
    )


def test_a_gate_always_zooms_where_every_zoom_gains():
    assert choose_thresholds(rows([0, 0], [1, 1], [0.1, 0.9]), "entropy", ())[0] == -math.inf


def test_answers_settle_up_to_where_more_rounds_gain():
    found = rows(
        [0] * 4, [1, 1, 1, 0], [0.9] * 4, first=[1, 1, 0, 0], after_first=[0.1, 0.2, 0.3, 0.4]
    )  # the third needs another round
    assert choose_thresholds(found, "entropy", ())[1] == 0.2
    assert (
        choose_thresholds(found, "entropy", (), price=0.3)[1] == math.inf
    )  # four times two passes, for one more right answer


def test_the_gate_knows_where_zoomed_answers_settle():
    found = rows(
        [1, 0, 0], [0, 1, 1], [0.1, 0.8, 0.9], first=[1, 1, 0], after_first=[0.1, 0.2, 0.3]
    )  # a second round spoils the first
    assert choose_thresholds(found, "entropy", (), price=0.0) == (-math.inf, 0.1)


def test_the_best_threshold_is_the_one_up_to_which_most_is_saved():
    found = np.array([0.3, 0.1, 0.2])
    assert best_threshold(found, np.array([-3.0, 1.0, 1.0])) == 0.2
    assert best_threshold(found, np.array([1.0, -2.0, 2.0])) == math.inf
    assert best_threshold(found, np.array([1.0, -2.0, 0.5])) == -math.inf


def test_equal_uncertainties_are_never_parted_by_a_threshold():
    assert best_threshold(np.array([0.5, 0.5, 0.9]), np.array([2.0, -3.0, -1.0])) == -math.inf


def test_acceptance_undoes_losses_where_the_zoomed_answer_is_less_sure():
    found = rows([1, 0], [0, 1], [0.2, 0.8], [0.6, 0.1])
    assert kept_scores(found, "answer", "entropy", ()).tolist() == [1, 1]
    assert kept_scores(found, "answer", "off", ()).tolist() == [0, 1]


def test_acceptance_is_chosen_where_it_gains():
    assert choose_acceptance(rows([1, 0], [0, 1], [0.2, 0.8], [0.6, 0.1]), "margin", ()) == "margin"
    assert choose_acceptance(rows([0, 0], [1, 1], [0.2, 0.8], [0.6, 0.1]), "margin", ()) == "off"


def test_cross_validation_chooses_without_the_rows_that_it_scores():
    plain, zoomed, before = [1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 1, 0], [0.1, 0.5, 0.2, 0.6, 0.7, 0.3]
    found = cross_validated(rows(plain, zoomed, before), folds=6).set_index("example_id")
    assert found["score"].tolist() == [
        1,
        1,
        1,
        1,
        1,
        0,
    ]  # the others say to zoom from 0.2 on, so the last is spoiled
    assert found["passes"].tolist() == [1, 4, 1, 4, 4, 4]


def test_weights_recover_a_known_logistic_model():
    rng = np.random.default_rng(0)
    entropy, margin = rng.uniform(0, 2, 20_000), rng.uniform(0, 1, 20_000)
    right = rng.random(20_000) > 1 / (1 + np.exp(-(-2.0 + 1.5 * entropy + 0.5 * margin)))
    found = pd.DataFrame(
        {"plain_entropy": entropy, "plain_margin": margin, "plain_score": right.astype(float)}
    )
    np.testing.assert_allclose(fit_weights(found), (-2.0, 1.5, 0.5), atol=0.15)


def test_risk_and_coverage_of_a_perfect_order():
    coverage, risk = risk_coverage(np.array([0.3, 0.1, 0.2]), np.array([0.0, 1.0, 1.0]))
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3])


def test_every_benchmark_and_all_together_get_their_choices():
    found = calibrate(
        pd.concat(
            [rows([0, 1], [1, 1], [0.9, 0.1]), rows([1, 1], [1, 1], [0.5, 0.1], benchmark="b")]
        )
    )
    assert (
        set(found.threshold["entropy"])
        == set(found.settle["entropy"])
        == set(found.accept)
        == {"all", "a", "b"}
    )
    assert found.threshold["entropy"]["b"] == math.inf


def test_risk_curves_cover_every_score_of_a_stored_calibration(tmp_path):
    write_results(tmp_path / "v", rows([1, 0, 1], [1, 1, 1], [0.1, 0.9, 0.5]), {"vlm": "v"})
    found = risk_curves(tmp_path)
    assert set(found["score"]) == {"entropy", "margin", "calibrated"}
    assert found[found["score"] == "entropy"]["risk"].tolist() == pytest.approx([0, 0, 1 / 3])
