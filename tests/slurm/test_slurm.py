"""Opt-in: a real SLURM of one node on the loopback.

``pytest -m slurm tests/slurm``, as root, with slurm-wlm and munge installed.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.rows import TIMES
from entropy_grounding.experiments.complete import complete
from entropy_grounding.experiments.config import load_experiment

submitit = pytest.importorskip("submitit")

SCRIPT = Path(__file__).with_name("cluster.sh")
MISSING = [
    program
    for program in ("munged", "slurmctld", "slurmd", "sbatch")
    if shutil.which(program) is None
]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(MISSING), reason=f"{', '.join(MISSING)} not installed: apt-get install slurm-wlm munge"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="the daemons of SLURM must run as root"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The folder of a running cluster, the one that sbatch and srun find."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True, timeout=120)
    if started.returncode:
        pytest.fail(started.stderr, pytrace=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield folder
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=120)


def results_within(jobs, seconds):
    """The results of the jobs.

    ``job.result()`` alone waits for ever for a job that was killed, as no accounting tells of its
    end.
    """
    until = time.monotonic() + seconds
    while not all(job.paths.result_pickle.exists() for job in jobs):
        if time.monotonic() > until:
            queue = subprocess.run(["squeue"], capture_output=True, text=True).stdout
            pytest.fail(
                f"no result after {seconds} s\n{queue}\n{[job.stderr() for job in jobs]}",
                pytrace=False,
            )
        time.sleep(0.2)
    return [job.result() for job in jobs]


def test_results_come_in_the_order_of_submission(cluster, tmp_path):
    executor = submitit.SlurmExecutor(tmp_path)
    executor.update_parameters(partition="debug", time=2, cpus_per_task=1, array_parallelism=2)
    assert results_within(executor.map_array(pow, [2, 3, 4, 5], [2, 2, 2, 2]), seconds=60) == [
        4,
        9,
        16,
        25,
    ]


def rows_of(root):
    return {
        path.parent.relative_to(root): load_rows(path.parent)[0].drop(columns=list(TIMES))
        for path in root.rglob("rows.parquet")
    }


def test_an_experiment_on_a_cluster_has_the_rows_of_one_process(cluster, tmp_path):
    chosen = {
        "vlm": "tiny_llava",
        "benchmark": "mini_textvqa,mini_gqa",
        "method": "entropy_gradient",
        "tracking": "disabled",
    }
    complete(load_experiment("table1", "smoke", results_dir=str(tmp_path / "one"), **chosen))
    options = ["run=smoke", *(f"{name}={value}" for name, value in chosen.items())]
    places = [f"results_dir={tmp_path}/results", f"output_dir={tmp_path}/notebooks"]
    launcher = [
        "hydra/launcher=slurm",
        *(
            f"hydra.launcher.{each}"
            for each in ("partition=debug", "gpus_per_node=null", "cpus_per_task=1")
        ),
    ]
    command = [sys.executable, "-m", "entropy_grounding", "rerun", *options, *places, *launcher]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    one, many = rows_of(tmp_path / "one"), rows_of(tmp_path / "results")
    assert len(one) == 2
    assert one.keys() == many.keys()
    assert all(many[name].equals(rows) for name, rows in one.items())
