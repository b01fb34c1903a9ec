"""Copies that were fetched ahead: one folder for all checkpoints, one for all data sets."""

from pathlib import Path

import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments.config import evaluations, load_experiment
from entropy_grounding.experiments.launch import _cell


def configs(*overrides, **chosen):
    setup = load_experiment("table1", "full", overrides, method="entropy_gradient", **chosen)
    return setup, [config for _, config in evaluations(setup)]


@pytest.mark.parametrize("layout", ["llava-hf/llava-1.5-7b-hf", "llava-1.5-7b-hf"])
def test_weights_are_found_by_their_name_on_the_hub(tmp_path, layout):
    (tmp_path / "my weights" / layout).mkdir(parents=True)
    folder = tmp_path / "my weights"
    _, found = configs(f"weights_dir={folder}", vlm="llava_1_5_7b", benchmark="pope")
    assert [config.vlm.weights for config in found] == [str(folder / layout)]


def test_data_and_boxes_are_found_by_their_names_on_the_hub(tmp_path):
    for name in ("lmms-lab-encoder/textvqa", "TextVQA_GT_bbox", "vstar-bench"):
        (tmp_path / name).mkdir(parents=True)
    given = {"vlm": "llava_1_5_7b", "benchmark": "textvqa,vstar"}
    _, (textvqa, vstar) = configs(f"data_dir={tmp_path}", **given)
    assert textvqa.benchmark.path == str(tmp_path / "lmms-lab-encoder" / "textvqa")
    assert textvqa.benchmark.boxes == str(tmp_path / "TextVQA_GT_bbox")
    assert vstar.benchmark.path == str(tmp_path / "vstar-bench")
    assert vstar.benchmark.boxes is None  # no copy, and nothing is fetched for local data


def test_tiny_vlms_and_miniatures_need_no_copy(tmp_path):
    overrides = [f"weights_dir={tmp_path}", f"data_dir={tmp_path}"]
    setup = load_experiment("table1", "smoke", overrides)
    for _, config in evaluations(setup):
        assert config.vlm.weights.startswith("tiny:")
        assert config.benchmark.path.startswith("miniature:")


def test_a_missing_copy_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"weights_dir '.*' holds neither llava-hf/llava-1.5-7b"):
        configs(f"weights_dir={tmp_path}", vlm="llava_1_5_7b", benchmark="pope")
    with pytest.raises(InputError, match=r"data_dir '.*' holds neither lmms-lab-encoder/POPE nor"):
        configs(f"data_dir={tmp_path}", vlm="llava_1_5_7b", benchmark="pope")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vlm.weights=weights/x", "would count for all of llava_1_5_7b, .*weights_dir=FOLDER"),
        ("vlm.revision=main", "choose one with vlm=NAME"),
        ("benchmark.path=data/x", "would count for all of textvqa, .*data_dir=FOLDER"),
        ("benchmark.boxes=data/x", "choose one with benchmark=NAME"),
    ],
)
def test_what_is_true_of_one_is_not_said_of_several(override, message):
    with pytest.raises(InputError, match=message):
        load_experiment("table1", "full", [override])


def test_an_option_of_one_is_fine_where_one_is_chosen(tmp_path):
    override = f"vlm.weights={tmp_path}"
    _, found = configs(override, vlm="llava_1_5_7b", benchmark="pope")
    assert found[0].vlm.weights == str(tmp_path)
    assert load_experiment("table1", "full", ["benchmark.boxes=null"])  # true of any number


def test_a_job_is_told_where_the_copies_are(tmp_path, monkeypatch):
    (tmp_path / "w" / "llava-1.5-7b-hf").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    setup, _ = configs("weights_dir=w", vlm="llava_1_5_7b", benchmark="pope")
    job = _cell(setup, "llava_1_5_7b", "pope")
    again = load_experiment("table1", "full", job.parameters()["overrides"], vlm="llava_1_5_7b")
    assert Path(str(again.weights_dir)) == tmp_path / "w"
