"""Jobs of an experiment: what fails is told and kept, and a run that is killed goes on."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import psutil
import pytest

from entropy_grounding.commands.rerun import rerun
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.processes import PATIENCE
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.rows import TIMES
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import load_experiment
from entropy_grounding.experiments.job import JobConfig
from entropy_grounding.experiments.launch import command_line
from entropy_grounding.experiments.papermill import execute, executed_with

CHOSEN = {
    "vlm": "tiny_llava",
    "benchmark": "mini_gqa",
    "method": "entropy_gradient,control_oracle",
    "tracking": "disabled",
}


@pytest.fixture
def notebook(tmp_path):
    """A notebook that divides 1 by its parameter."""
    parameters = nbformat.v4.new_code_cell("number = 0", metadata={"tags": ["parameters"]})
    made = nbformat.v4.new_notebook(
        cells=[parameters, nbformat.v4.new_code_cell("print(1 / number)")]
    )
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(made, tmp_path / "divide.ipynb")
    return tmp_path / "divide.ipynb"


def test_a_wrong_parameter_name_is_told_before_anything_runs(notebook, tmp_path):
    with pytest.raises(InputError, match=r"divide.ipynb has no parameter 'numbre': did you mean"):
        execute(notebook, tmp_path / "out" / "done.ipynb", {"numbre": 2})
    assert not (tmp_path / "out").exists()


def test_a_notebook_that_fails_is_kept_under_another_name(notebook, tmp_path):
    with pytest.raises(
        InputError,
        match=r"Cell 3 of divide.ipynb failed \(ZeroDivisionError: division by zero\); "
        r"see .*done.failed.ipynb",
    ):
        execute(notebook, tmp_path / "done.ipynb", {"number": 0})
    assert {path.name for path in tmp_path.iterdir()} == {"divide.ipynb", "done.failed.ipynb"}
    execute(notebook, tmp_path / "done.ipynb", {"number": 2})
    assert {path.name for path in tmp_path.iterdir()} == {"divide.ipynb", "done.ipynb"}
    assert executed_with(tmp_path / "done.ipynb") == {"number": 2}


def rows_of(root):
    return {
        path.parent.name: load_rows(path.parent)[0].drop(columns=list(TIMES))
        for path in root.rglob("rows.parquet")
    }


def kill_after_the_first_rows(config, results):
    """Start the launcher in a process group of its own, and kill the group."""
    command = [sys.executable, "-m", "entropy_grounding", "job", "-m", *command_line([config])]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and not list(results.rglob("parts/shard*.parquet")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_an_experiment_that_is_killed_ends_with_the_same_rows(tmp_path, monkeypatch):
    complete(load_experiment("table1", "smoke", results_dir=str(tmp_path / "straight"), **CHOSEN))
    results, notebooks = tmp_path / "results", tmp_path / "notebooks"
    method = CHOSEN["method"].replace(",", "+")
    config = JobConfig(
        "table1",
        "smoke",
        "tiny_llava/mini_gqa",
        method,
        (),
        str(results),
        str(notebooks),
        "disabled",
    )
    kill_after_the_first_rows(config, results)
    assert not config.executed().exists()

    monkeypatch.setattr(
        "entropy_grounding.experiments.launch.execute", lambda name, target, _: target
    )  # the table is another test's
    places = [f"results_dir={results}", f"output_dir={notebooks}"]
    rerun(
        [
            "run=smoke",
            *places,
            *(f"{name}={value}" for name, value in CHOSEN.items()),
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
        ]
    )
    straight, again = rows_of(tmp_path / "straight"), rows_of(results)
    assert set(straight) == set(again) == {"entropy_gradient", "control_oracle"}
    assert all(again[name].equals(rows) for name, rows in straight.items())
    assert executed_with(config.executed()) == config.parameters()
    assert not list(tmp_path.rglob("*partial*"))


def answered(root):
    return {
        each
        for path in root.rglob("parts/shard*.parquet")
        for each in pd.read_parquet(path)["example_id"]
    }


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_no_process_of_a_rerun_that_ends_stays_and_what_it_has_answered_is_stored(
    number, status, tmp_path
):
    """Part files hold 16 rows: another number shows a kernel interrupted, not killed."""
    places = [f"results_dir={tmp_path / 'rows [v1]'}", f"output_dir={tmp_path / 'notebooks (1)'}"]
    chosen = [
        "vlm=tiny_llava",
        "benchmark=mini_gqa",
        "method=entropy_gradient",
        "benchmark.examples=300",
        "tracking=offline",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "entropy_grounding", "rerun", "run=smoke", *chosen, *places],
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not answered(tmp_path):
        time.sleep(0.05)
    time.sleep(0.7)
    children = psutil.Process(process.pid).children(recursive=True)
    before = answered(tmp_path)
    process.send_signal(number)
    said = process.communicate()[1].decode()
    assert process.returncode == status
    assert "Traceback" not in said
    assert len(children) > 1
    assert not psutil.wait_procs(children, timeout=2 * PATIENCE)[1]
    assert before < answered(tmp_path)
    assert not [
        path
        for path in tmp_path.rglob("*")
        if "partial" in path.name or path.name.endswith("error.txt")
    ]
