"""Opt-in: a real SLURM of one node on the loopback. ``pytest -m slurm tests/slurm``, as root, with slurm-wlm and munge installed."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

submitit = pytest.importorskip("submitit")

SCRIPT = Path(__file__).with_name("cluster.sh")
MISSING = [program for program in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(program) is None]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: apt-get install slurm-wlm munge"),
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
    """The results of the jobs; ``job.result()`` alone waits for ever for a job that was killed, as no accounting tells of its end."""
    until = time.monotonic() + seconds
    while not all(job.paths.result_pickle.exists() for job in jobs):
        if time.monotonic() > until:
            queue = subprocess.run(["squeue"], capture_output=True, text=True).stdout
            pytest.fail(f"no result after {seconds} s\n{queue}\n{[job.stderr() for job in jobs]}", pytrace=False)
        time.sleep(0.2)
    return [job.result() for job in jobs]


def test_results_come_in_the_order_of_submission(cluster, tmp_path):
    executor = submitit.SlurmExecutor(tmp_path)
    executor.update_parameters(partition="debug", time=2, cpus_per_task=1, array_parallelism=2)
    assert results_within(executor.map_array(pow, [2, 3, 4, 5], [2, 2, 2, 2]), seconds=60) == [4, 9, 16, 25]
