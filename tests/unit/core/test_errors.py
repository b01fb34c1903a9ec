"""Advice against errors of the machine: for their own cause only, wherever they are found out."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from entropy_grounding.core.errors import machine_remedy
from support.bad_inputs import GOOD, parquet


def raised(error, cause=None):
    try:
        raise error from cause
    except Exception as caught:
        return caught


def of(number, path):
    return OSError(number, os.strerror(number), path)


CACHE = f"{constants.HF_HOME}/hub/models--a"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ModuleNotFoundError("No module named 'bits'", name="bits"), "Install bits (pip install"),
        (ImportError("This needs bits."), "Install what it names"),
        (of(errno.ENOSPC, "/anywhere"), "The disk is full"),
        (of(errno.EACCES, CACHE), f"The cache '{CACHE}' cannot be written: set HF_HOME"),
        (of(errno.EROFS, constants.HF_HOME), "The cache '"),
        (of(errno.ENOTDIR, str(Path(constants.HF_HOME).parent)), "The cache '"),
    ],
)
def test_an_error_of_the_machine_has_its_own_advice_also_as_a_cause(error, advice):
    assert machine_remedy(error).startswith(advice)
    assert machine_remedy(raised(ValueError("Could not load."), error)).startswith(advice)


@pytest.mark.parametrize(
    "error",
    [
        of(errno.EACCES, "/data/rows.parquet"),
        of(errno.ENOENT, "/weights/x"),
        ValueError("Broken."),
        OSError("?"),
    ],
)
def test_another_error_has_none(error):
    assert machine_remedy(error) is None


READ = """
import sys
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.load import load_benchmark
from entropy_grounding.commands.command_line import command
config = BenchmarkConfig(name="docvqa", kind="docvqa", path=sys.argv[1])
command(lambda: list(load_benchmark(config)))
"""


def test_a_cache_that_cannot_be_written_is_told_as_one(tmp_path):
    rows = parquet(tmp_path, GOOD)
    environment = os.environ | {"HF_HOME": "/dev/null/cache"}
    done = subprocess.run(
        [sys.executable, "-c", READ, rows], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "The cache '/dev/null/cache' cannot be written: set HF_HOME to a folder that can be."
    )
