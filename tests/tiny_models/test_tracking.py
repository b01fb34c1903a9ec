"""Tracking with the real W&B, offline: runs of their own, and trouble that never ends the work."""

import os
import subprocess
import sys

import pytest
import wandb

from entropy_grounding.app.question import ground_config
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation import run as evaluation
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.tiny.train import TrainConfig
from entropy_grounding.tracking import TrackingConfig, tracked_run

# Opens two runs, kills the service of W&B in the first, and goes on; argument: folder.
KILLED = """
import sys
from pathlib import Path
import psutil
from entropy_grounding.commands.command_line import command
from entropy_grounding.tracking import TrackingConfig, tracked_run

def main():
    for number in range(2):
        folder = Path(sys.argv[1]) / str(number)
        with tracked_run(TrackingConfig(), folder, job_type="test", config={}) as tracked:
            tracked.log({"x": 1})
            if number == 0:
                for child in psutil.Process().children(recursive=True):
                    child.kill()
                    child.wait()
            for step in range(20):
                tracked.log({"x": step})
            print("worked", number)

command(main)
"""
# Prints the ids of two runs; the environment names one.
NAMED = """
import sys
from pathlib import Path
from entropy_grounding.tracking import TrackingConfig, tracked_run

for number in range(2):
    with tracked_run(TrackingConfig(), Path(sys.argv[1]), job_type="test", config={}) as tracked:
        tracked.attempt(lambda run: print(run.id, run.settings.sweep_id, run.settings.resume))
"""


def python(text, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.fixture(autouse=True)
def no_login(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


def test_a_killed_service_is_told_once_and_the_work_goes_on(tmp_path):
    done = python(KILLED, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["worked 0", "worked 1"]
    (said,) = done.stderr.splitlines()
    assert said.startswith("warning: Weights & Biases failed (")
    assert said.endswith("): the work goes on without it.")
    assert list((tmp_path / "1" / "wandb").glob("offline-run-*/*.wandb"))


def test_the_environment_names_no_run_of_ours_and_nothing_is_written_elsewhere(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    names = {
        "WANDB_RUN_ID": "fixed",
        "WANDB_RESUME": "allow",
        "WANDB_SWEEP_ID": "sweep",
        "HOME": str(home),
    }
    done = python(NAMED, str(tmp_path / "run"), **names)
    assert done.stderr == ""
    first, second = (line.split() for line in done.stdout.splitlines())
    assert first[0] != second[0]
    assert "fixed" not in (first[0], second[0])
    assert first[1:] == second[1:] == ["None", "None"]
    assert not [path for path in home.rglob("*") if "wandb" in str(path)]


def test_a_run_that_the_caller_has_open_is_left_alone(tmp_path, tiny_vlm, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    overrides = [
        "benchmark=mini_docvqa",
        "benchmark.examples=2",
        f"results_dir={tmp_path}/rows",
        "method_name=m",
        "method=base",
    ]
    seen = []
    monkeypatch.setattr(
        evaluation,
        "log_evaluation",
        lambda tracked, *_: tracked.attempt(lambda run: seen.append(run.id)),
    )
    with wandb.init(
        mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True)
    ) as mine:
        evaluate(compose_config(overrides, "evaluate", EvaluateConfig), tiny_vlm)
        assert wandb.run is mine
        mine.log({"still": "open"})
        assert mine.summary["still"] == "open"
        assert "score" not in dict(mine.summary)
    assert len(seen) == 1
    assert seen[0] != mine.id


def test_a_folder_that_cannot_be_made_ends_nothing(tmp_path, capsys):
    (tmp_path / "wandb").write_text("")
    with tracked_run(TrackingConfig(), tmp_path, job_type="test", config={}) as tracked:
        tracked.log({"x": 1})
    assert capsys.readouterr().err.startswith("warning: Weights & Biases failed (")
    assert {path.name for path in tmp_path.iterdir()} == {"wandb"}


def test_whatever_fails_is_told_once(tmp_path, capsys):
    with tracked_run(TrackingConfig(), tmp_path, job_type="test", config={}) as tracked:
        tracked.attempt(lambda run: 1 / 0)
        tracked.log({"x": 1})
        tracked.attempt(lambda run: 1 / 0)
    assert capsys.readouterr().err.splitlines() == [
        "warning: Weights & Biases failed (division by zero): the work goes on without it."
    ]


def test_an_error_of_the_work_stays_what_it_is_without_a_traceback_of_ours(tmp_path, capsys):
    with (
        pytest.raises(InputError, match="Bad"),
        tracked_run(TrackingConfig(), tmp_path, job_type="test", config={}),
    ):
        raise InputError("Bad.")
    assert capsys.readouterr().err == ""


def test_disabled_starts_nothing(tmp_path):
    with tracked_run(
        TrackingConfig(mode="disabled"), tmp_path / "run", job_type="test", config={}
    ) as tracked:
        tracked.log({"x": 1})
    assert not list(tmp_path.iterdir())


def test_online_without_a_login_is_refused_before_the_work(monkeypatch):
    with pytest.raises(
        InputError,
        match="tracking=online needs a login to Weights & Biases, and there is none: "
        "run 'wandb login'",
    ):
        TrackingConfig(mode="online")
    with pytest.raises(InputError, match="run 'wandb login', or pass tracking=offline"):
        ground_config(["tracking=online"])
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(
        InputError, match=r"needs a login to Weights & Biases \(.*\): run 'wandb login'"
    ):
        TrackingConfig(mode="online")


@pytest.mark.parametrize(
    ("name", "config", "more"),
    [("evaluate", EvaluateConfig, ["method_name=m"]), ("train", TrainConfig, [])],
)
def test_every_command_refuses_online_without_a_login_as_it_reads_its_options(name, config, more):
    with pytest.raises(InputError, match="run 'wandb login', or pass tracking=offline"):
        compose_config(["tracking=online", *more], name, config)


def test_an_experiment_refuses_online_without_a_login_before_anything_runs():
    with pytest.raises(InputError, match="run 'wandb login', or pass tracking=offline"):
        load_experiment("table1", "smoke", tracking="online")


def opened(monkeypatch):
    """Collect the runs of W&B that are opened from now on, really opened and offline."""
    runs, init = [], wandb.init

    def keep(*arguments, **options):
        runs.append(init(*arguments, **options))
        return runs[-1]

    monkeypatch.setattr(wandb, "init", keep)
    return runs


def test_a_run_of_an_evaluation_says_what_it_evaluated(tmp_path, tiny_vlm, monkeypatch):
    runs = opened(monkeypatch)
    overrides = ["benchmark=mini_docvqa", "benchmark.examples=1", "method_name=m", "method=base"]
    overrides += [f"results_dir={tmp_path}", "tracking.group=table1"]
    config = compose_config(overrides, "evaluate", EvaluateConfig)
    rows = evaluate(config, tiny_vlm)

    (run,) = runs
    assert (run.group, run.job_type) == ("table1", "evaluate")
    assert run.name == "tiny_llava/mini_docvqa/m"
    assert {"tiny_llava", "mini_docvqa", "m"} < set(run.tags)
    assert run.config["config_hash"] == rows["config_hash"].iloc[0]
    assert run.config["benchmark"]["canvas"] == 256  # filled in


def test_a_long_name_is_a_tag_cut_off(tmp_path, monkeypatch, capsys):
    runs = opened(monkeypatch)
    tags = ["m" * 100, "m" * 100, ""]
    with tracked_run(TrackingConfig(), tmp_path, job_type="test", config={}, tags=tags):
        pass
    assert capsys.readouterr().err == ""
    assert runs[0].tags == ("m" * 64,)


def test_nothing_is_drawn_for_a_disabled_run(tmp_path, tiny_vlm, monkeypatch):
    monkeypatch.setattr(evaluation, "with_boxes", lambda *_: pytest.fail("drawn"))
    overrides = ["benchmark=mini_docvqa", "benchmark.examples=1", "method_name=m", "method=base"]
    overrides += [f"results_dir={tmp_path}", "tracking=disabled"]
    evaluate(compose_config(overrides, "evaluate", EvaluateConfig), tiny_vlm)


def test_online_with_a_login_is_taken(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    try:
        assert TrackingConfig(mode="online").mode == "online"
    finally:
        wandb.teardown()  # this process would stay logged in, for the tests that need no login
