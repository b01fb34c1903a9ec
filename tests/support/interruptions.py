"""Kill the evaluation command at random moments, or run it in shards, and compare the rows.

``python tests/support/interruptions.py`` does it twenty times.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.rows import TIMES

COMMAND = [sys.executable, "-m", "entropy_grounding", "evaluate", "tracking=disabled"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(overrides):
    return subprocess.Popen(
        [*COMMAND, *overrides],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors[-2000:])


def folder_of(root):
    return next(path.parent for path in Path(root).rglob("manifest.json"))


def killed_at_random(root, overrides, kills, seed):
    """Kill the command ``kills`` times at random moments of its writing, then let it finish."""
    rng = random.Random(seed)
    done = 0
    for _ in range(kills):
        parts = len(list(Path(root).rglob("parts/shard*.parquet")))
        process = start([*overrides, f"results_dir={root}"])
        while (
            process.poll() is None and len(list(Path(root).rglob("parts/shard*.parquet"))) == parts
        ):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.wait()
    finish(start([*overrides, f"results_dir={root}"]))
    return load_rows(folder_of(root))[0], done


def in_shards(root, overrides, shards):
    """Run all shards at the same time; return the joined rows, and the ids as they were stored."""
    processes = [
        start([*overrides, f"results_dir={root}", f"shard={i}/{shards}"])
        for i in range(1, shards + 1)
    ]
    for process in processes:
        finish(process)
    folder = folder_of(root)
    stored = [
        identity
        for path in sorted(folder.glob("parts/shard*.parquet"))
        for identity in pd.read_parquet(path)["example_id"]
    ]
    merge(folder)
    return load_rows(folder)[0], stored


def main():
    overrides = ["benchmark=mini_docvqa", "benchmark.examples=120", "flush_every=4"]
    with tempfile.TemporaryDirectory() as folder:
        finish(start([*overrides, f"results_dir={folder}/straight"]))
        straight = load_rows(folder_of(f"{folder}/straight"))[0].drop(columns=list(TIMES))
        rows, kills = killed_at_random(f"{folder}/killed", overrides, kills=20, seed=0)
        equal = rows.drop(columns=list(TIMES)).equals(straight)
        print(
            f"{kills} times SIGKILL: {len(rows)} rows, equal to an uninterrupted run except times: "
            f"{equal}"
        )
        joined, stored = in_shards(f"{folder}/shards", overrides, shards=8)
        equal_shards = joined.drop(columns=list(TIMES)).equals(straight)
        print(
            f"8 shards at once: {len(stored)} rows stored, {len(set(stored))} different, equal to "
            f"one run except times: {equal_shards}"
        )
        sys.exit(not (equal and equal_shards))


if __name__ == "__main__":
    main()
