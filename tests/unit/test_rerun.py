"""The command that runs an experiment again: what it refuses, what it plans, and what reaches the jobs. No model."""

import json
import os

import pandas as pd
import pytest

from entropy_grounding.commands.rerun import rerun
from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments import job as cells
from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.experiments.job import JobConfig, gpu_names, run_job
from entropy_grounding.experiments.launch import check_all_done, is_done, launcher_options
from entropy_grounding.experiments.plan import plan_text, planned

SMOKE = ("run=smoke", "benchmark=mini_gqa", "tracking=disabled")


@pytest.fixture
def folders(tmp_path):
    return f"results_dir={tmp_path}/results", f"output_dir={tmp_path}/notebooks"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("experiment=tabel1", "Could not find 'experiment/tabel1'"),
        ("experimnt=table1", "Key 'experimnt' not in"),
        ("run=smok", "Could not find 'run/smok'"),
        ("vlm=tiny_lava", "Unknown vlm 'tiny_lava'"),
        ("benchmark=mini_gqaa", "Unknown benchmark 'mini_gqaa'"),
        ("method=search_9", "Unknown method 'search_9'"),
        ("method.sigma=2", "Key 'sigma' not in"),
        ("tracking=loud", "Could not find 'tracking/loud'"),
        ("run.examples=9", "reaches no cell"),
        ("gpus=-1", "gpus is -1"),
        ("gpus=two", "'two'.*could not be converted to Integer"),
        ("hydra/launcher=slrum", "Could not find 'hydra/launcher/slrum'"),
        ("hydra.launcher.n_jobs=2", "Key 'n_jobs' not in 'BasicLauncherConf'"),
    ],
)
def test_a_wrong_argument_ends_with_one_sentence_before_anything_is_written(
    argument, message, folders, tmp_path
):
    with pytest.raises(InputError, match=message) as raised:
        rerun([*SMOKE, *folders, argument])
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_prints_the_plan_and_writes_nothing(folders, tmp_path, capsys):
    rerun([*SMOKE, *folders, "method=entropy_gradient", "--dry-run"])
    assert "1 cells, 0 of 1 evaluations complete" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_everything_is_missing_at_first(tmp_path):
    plan = planned(load_experiment("table1", "smoke", results_dir=str(tmp_path)))
    assert set(plan["missing"]) == {4}
    assert not plan["complete"].any()
    assert (plan["seconds"] > 0).all()


@pytest.fixture
def plan():
    rows = [
        ("a", "x", True, 0, 0.0),
        ("a", "x", False, 10, 108.0),
        ("a", "y", True, 0, 0.0),
        ("b", "x", False, None, float("nan")),
    ]
    return pd.DataFrame(
        rows, columns=["vlm", "benchmark", "complete", "missing", "seconds"]
    ).assign(note="")


def test_a_plan_has_a_line_for_each_cell(plan):
    lines = [
        [entry.strip() for entry in line.split("|")[1:-1]]
        for line in plan_text(plan).splitlines()[2:-1]
    ]
    assert lines == [
        ["a", "x", "2", "1", "10", "2.0 min"],
        ["a", "y", "1", "1", "0", "0.0 min"],
        ["b", "x", "1", "0", "all", "unknown"],
    ]


def test_a_plan_names_the_benchmarks_without_evidence(plan):
    said = plan_text(plan.assign(note=["no boxes: no localisation", "", "", ""]))
    assert "\nx: no boxes: no localisation\n" in said


def test_the_full_run_says_where_nothing_can_be_localised(capsys, tmp_path):
    rerun(
        [
            "experiment=table1",
            "run=full",
            "vlm=llava_1_5_7b",
            f"results_dir={tmp_path}",
            "--dry-run",
        ]
    )
    assert (
        "docvqa, pope, infovqa, gqa, realworldqa: no boxes: no localisation"
        in capsys.readouterr().out
    )


def test_a_plan_has_no_total_where_a_part_is_unknown(plan):
    assert plan_text(plan).endswith("one process: unknown")
    assert plan_text(plan[plan["vlm"] == "a"]).endswith("one process: 2.0 min")


def test_a_gpu_of_ones_own_is_a_process_of_ones_own(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert launcher_options(3, []) == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"]
    assert launcher_options(0, []) == []


def test_gpus_and_a_launcher_exclude_each_other(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(InputError, match="leave it out, or hydra/launcher"):
        launcher_options(2, ["hydra/launcher=slurm"])


def test_gpus_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7")
    assert gpu_names(2) == ["4", "GPU-7"]
    with pytest.raises(InputError, match="use at most 2"):
        gpu_names(3)


def test_no_two_cells_have_the_same_gpu_at_once(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen, config = [], JobConfig(gpus=2, output_dir=str(tmp_path))

    def another(*_):
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # the next is another process
        run_job(config)

    monkeypatch.setattr(cells, "execute", another)
    with pytest.raises(InputError, match="All 2 GPUs are in use"):
        run_job(config)
    assert seen == ["0", "1"]


@pytest.mark.parametrize(
    ("complete", "changes", "done"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"run": "full"}, False),
        (True, {"method": "a"}, False),
    ],
)
def test_a_cell_is_done_when_rows_are_complete_and_its_notebook_has_the_same_parameters(
    complete, changes, done, tmp_path
):
    config = JobConfig(output_dir=str(tmp_path))
    config.executed().parent.mkdir()
    config.executed().write_text(
        json.dumps({"metadata": {"papermill": {"parameters": config.parameters() | changes}}})
    )
    assert is_done(config, pd.DataFrame({"complete": [True, complete]})) == done


def test_a_cell_without_notebook_is_not_done(tmp_path):
    assert not is_done(JobConfig(output_dir=str(tmp_path)), pd.DataFrame({"complete": [True]}))


def test_every_cell_that_failed_is_named_with_its_reason(tmp_path):
    good, bad, lost = (
        JobConfig(cell=f"a/{name}", output_dir=str(tmp_path)) for name in ("good", "bad", "lost")
    )
    good.executed().parent.mkdir()
    good.executed().touch()
    bad.error().write_text("No weights.\n")
    with pytest.raises(
        InputError,
        match=r"2 of 3 cells failed.*\n  a/bad: No weights.\n  a/lost: no message; the launcher ended with code 7",
    ):
        check_all_done([good, bad, lost], 7)
    check_all_done([good], 0)
