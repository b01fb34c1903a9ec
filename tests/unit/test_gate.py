"""The gate: scores, thresholds and their calibration, on numbers whose answer is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.records import Uncertainty
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
from entropy_grounding.method.gate import (
    GateOptions,
    accepts,
    calibrated,
    is_sure,
    score,
    uncertainty,
)
from entropy_grounding.reporting.gate_tables import gate_table

LOW, HIGH = Uncertainty(0.1, 0.05), Uncertainty(2.0, 0.9)


def rows(plain, zoomed, before, after=None, benchmark="a", first=None, after_first=None):
    """Rows whose entropy and margin are one number; the answer after a round is the last one unless said otherwise, for 4 passes of 6."""
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


def test_entropy_and_margin_of_a_known_distribution():
    found = uncertainty(torch.tensor([0.5, 0.25, 0.25]).log())
    assert found.entropy == pytest.approx(1.5 * math.log(2))
    assert found.margin == pytest.approx(0.75)


def test_the_calibrated_score_is_a_logistic_function():
    assert score(Uncertainty(1.0, 0.5), "calibrated", (0.0, 1.0, -2.0)) == pytest.approx(0.5)
    assert score(Uncertainty(1.0, 0.5), "calibrated", (math.log(3), 0.0, 0.0)) == pytest.approx(
        0.75
    )


def test_the_calibrated_score_needs_weights():
    with pytest.raises(InputError, match=r"no weights: run eg calibrate"):
        score(LOW, "calibrated")


@pytest.mark.parametrize(
    ("threshold", "sure"), [(0.1, True), (0.09, False), (math.inf, True), (-math.inf, False)]
)
def test_an_answer_is_sure_up_to_the_threshold(threshold, sure):
    assert is_sure(LOW, GateOptions("entropy", threshold), zoomed=False) == sure
    assert is_sure(LOW, GateOptions("entropy", 5.0, settle=threshold), zoomed=True) == sure


def test_a_name_in_place_of_a_number_is_refused_where_no_calibration_was_read():
    with pytest.raises(
        InputError, match="gate.threshold is 'benchmark', which only a VLM's calibration knows"
    ):
        is_sure(LOW, GateOptions("entropy", "benchmark"), zoomed=False)
    with pytest.raises(
        InputError, match="gate.accept is 'all', which only a VLM's calibration knows"
    ):
        accepts(LOW, HIGH, GateOptions(accept="all"))


def test_without_settle_no_zoomed_answer_ends_the_loop():
    assert not is_sure(LOW, GateOptions("entropy", math.inf), zoomed=True)


def test_a_zoomed_answer_must_be_surer_than_the_plain_one():
    options = GateOptions(accept="margin")
    assert accepts(HIGH, LOW, options)
    assert not accepts(LOW, HIGH, options)
    assert not accepts(LOW, LOW, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"score": "size"},
            "Unknown gate.score 'size': use one of off, entropy, margin, calibrated",
        ),
        (
            {"accept": "size"},
            "Unknown gate.accept 'size': use one of off, entropy, margin, calibrated, benchmark, "
            "all",
        ),
        (
            {"score": "entropy", "threshold": "some"},
            "Unknown gate.threshold 'some': use a number, benchmark, all",
        ),
        (
            {"score": "entropy", "settle": "some"},
            "Unknown gate.settle 'some': use a number, null, benchmark, all",
        ),
        ({"settle": 0.5}, "gate.settle is set and gate.score is off"),
    ],
)
def test_unknown_names_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        GateOptions(**options)


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


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A calibration of the VLM "v", in a folder of the test."""
    monkeypatch.setattr("entropy_grounding.method.gate.CONF_DIR", tmp_path)
    values = {
        "weights": [1, 2, 3],
        "threshold": {"entropy": {"all": 0.5, "a": float("inf")}},
        "settle": {"entropy": {"all": 0.25, "a": 0.75}},
    }
    values["accept"] = {"all": "off", "a": "calibrated"}
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "v.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(values)))


def test_choices_come_from_the_calibration_of_the_vlm(stored):
    options = GateOptions("entropy", "benchmark", settle="benchmark", accept="benchmark")
    assert calibrated(options, "v", "a") == GateOptions(
        "entropy", math.inf, 0.75, "calibrated", (1, 2, 3)
    )
    assert calibrated(GateOptions("entropy", "all", "all", "all"), "v", "a") == GateOptions(
        "entropy", 0.5, 0.25, "off"
    )


def test_a_picture_of_no_benchmark_gets_what_was_chosen_for_all(stored):
    assert calibrated(GateOptions("entropy", "benchmark", settle=0.1), "v") == GateOptions(
        "entropy", 0.5, settle=0.1
    )


def test_options_without_names_need_no_calibration():
    options = GateOptions("entropy", 0.3, accept="margin")
    assert calibrated(options, "a VLM without any") is options


@pytest.mark.parametrize(
    ("vlm", "benchmark", "message"),
    [
        ("w", "a", "run eg calibrate vlm=w"),
        ("v", "b", "has nothing for 'b', only for all, a"),
    ],
)
def test_a_missing_calibration_is_an_error_that_says_what_to_do(stored, vlm, benchmark, message):
    with pytest.raises(InputError, match=message):
        calibrated(GateOptions("entropy", "benchmark"), vlm, benchmark)


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


def test_the_summary_says_what_of_gain_and_passes_is_kept(tmp_path):
    """Two of three points gained, 16 of 28 passes; where nothing is hidden, zooming spoils one right answer and the gate none."""
    for benchmark, plain, ungated, gated, passes in (
        ("mini_vstar", [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 0, 1], [(3, 2), (3, 2), (1, 0), (1, 0)]),
        ("mini_gqa", [1, 0], [0, 0], [1, 0], [(1, 0), (1, 0)]),
    ):
        for root, name, scores, spent in (
            ("table1", "entropy_gradient", ungated, [(3, 2)] * len(plain)),
            ("gate", "gated", gated, passes),
        ):
            table = pd.DataFrame(
                {
                    "vlm": "tiny_llava",
                    "benchmark": benchmark,
                    "example_id": range(len(plain)),
                    "plain_score": plain,
                    "score": scores,
                }
            )
            table = table.assign(
                forwards=[forwards for forwards, _ in spent],
                backwards=[backwards for _, backwards in spent],
            )
            write_results(
                tmp_path / "results" / "rows" / root / "tiny_llava" / benchmark / name,
                table,
                {"weights_sha256": "abcdef0123456789", "commit": "1234567"},
            )
    found = gate_table(tmp_path)
    line = found.splitlines()[2]
    assert [part.strip() for part in line.split("|")[1:-1]] == [
        "`tiny_llava`",
        "1.00",
        "50.0, 50.0",
        "0 of 1",
        "67 %",
        "57 %",
    ]
    assert "not run" in found
    assert found.endswith("`tiny_llava` abcdef012345 (commit 1234567, n = 2, 4).")
