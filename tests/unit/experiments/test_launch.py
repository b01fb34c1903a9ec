"""The jobs of an experiment: what is done, on which GPU, and which have failed. No model."""

import json
import os

import pandas as pd
import pytest

from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments import job as cells
from entropy_grounding.experiments.job import JobConfig, gpu_names, run_job
from entropy_grounding.experiments.launch import check_all_done, is_done, launcher_options


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
        match=r"2 of 3 cells failed.*\n  a/bad: No weights.\n"
        r"  a/lost: no message; the launcher ended with code 7",
    ):
        check_all_done([good, bad, lost], 7)
    check_all_done([good], 0)
