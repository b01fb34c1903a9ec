"""Run everything that needs a GPU, once, in at most eight minutes.

``python tests/gpu/run.py FOLDER``. Every step is a process of its own with a time limit, and writes
what it found at once, so that an error or the end of the time loses only that step. FOLDER gets

- ``steps.jsonl``: a line for every step, with its status and seconds,
- ``checks.jsonl``: a line for every test of test_released_shapes.py and test_kernels.py, with
  figures or traceback,
- ``measured/gpu_passes.json``: the figures of `eg profile passes`,
- ``log.txt``: all output.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/gpu/test_released_shapes.py", "tests/gpu/test_kernels.py")
KERNELS = "test_gpu_kernels"  # the tests of the second file; no model's name selects them
MINUTES = 8.0
FIRST, *OTHERS = MODELS = (
    "llava_1_5_7b",
    "qwen2_5_vl_7b",
    "llava_1_6_mistral_7b",
    "internvl3_5_8b",
)


class Reporter:
    """A plugin of pytest that writes a line for every test as soon as it has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report) -> None:
        if report.when != "call" and report.passed:
            return

        line = {
            "test": report.nodeid.partition("::")[2],
            "outcome": report.outcome,
            "when": report.when,
            "seconds": round(report.duration, 2),
            "figures": dict(report.user_properties),
        }
        if not report.passed:
            line["why"] = str(report.longrepr)[-4000:]
        _append(self.path, line)


def _append(path: Path, line: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def check(folder: Path, selection: str) -> int:
    """Run the tests that a ``-k`` expression selects, in this process."""
    import pytest

    # Another version of a library may warn of something new, which is no reason to fail here.
    lenient = ["-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    arguments = ["-m", "gpu", "-q", "-rs", *lenient, "-k", selection, *TESTS]
    return int(pytest.main(arguments, plugins=[Reporter(folder / "checks.jsonl")]))


def describe() -> int:
    """Print the card and the versions of what runs on it."""
    import torch
    import transformers
    from transformers.utils import is_flash_attn_2_available

    print("card", torch.cuda.get_device_name(), torch.cuda.mem_get_info())
    print("torch", torch.__version__, "transformers", transformers.__version__, sys.version)
    print("flash-attn", is_flash_attn_2_available())
    return 0


def steps(folder: Path) -> list[tuple[str, list[str], float]]:
    """Return name, command and time limit in seconds of every step, in their order."""

    def own(*arguments: str) -> list[str]:
        return [sys.executable, __file__, str(folder), *arguments]

    def profile(model: str, repeats: int) -> list[str]:
        command = "-m entropy_grounding profile passes --part released --models".split()
        more = ["--repeats", str(repeats), "--results", str(folder)]
        return [sys.executable, *command, model, *more]

    planned = [
        ("describe", own("describe"), 60.0),
        (f"profile {FIRST}", profile(FIRST, 5), 100.0),
        (f"check {FIRST}", own("check", FIRST), 90.0),
        ("check kernels", own("check", KERNELS), 60.0),
    ]
    for model in OTHERS:
        planned.append((f"profile {model}", profile(model, 3), 110.0))
    # One process for all of these checks: importing takes longer than most of them.
    return [*planned, ("check the others", own("check", " or ".join(OTHERS)), 240.0)]


def run_all(folder: Path) -> int:
    """Run the steps one after another, until the time is up; return how many did not succeed."""
    end = time.monotonic() + 60 * MINUTES - 10
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
    }

    failed = 0
    for name, command, limit in steps(folder):
        left = min(limit, end - time.monotonic())
        start = time.monotonic()
        status = _run(command, environment, left, folder / "log.txt") if left > 5 else "no time"
        seconds = round(time.monotonic() - start, 1)

        _append(folder / "steps.jsonl", {"step": name, "status": status, "seconds": seconds})
        print(f"{name}: {status}, {seconds} s", flush=True)
        failed += status != 0
    return failed


def _run(command: Sequence[str], environment: dict[str, str], limit: float, log: Path) -> int | str:
    """Run a command, with its output in the log; return its exit status, or why there is none."""
    with log.open("a") as file:
        file.write(f"\n--- {' '.join(command)}\n")
        file.flush()
        try:
            return subprocess.run(
                command, cwd=ROOT, env=environment, timeout=limit, stdout=file, stderr=file
            ).returncode
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"


def main() -> int:
    """Run all steps, or the one that is named behind the folder."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if len(sys.argv) == 2:
        return run_all(folder)
    return describe() if sys.argv[2] == "describe" else check(folder, sys.argv[3])


if __name__ == "__main__":
    sys.exit(main())
