"""What can be wrong with data and results, and the sentence that a user reads.

``python tests/support/bad_inputs.py`` prints the table.
"""

import os
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from unittest import mock

from datasets import Dataset, Features
from PIL import Image

from entropy_grounding.benchmarks.base import Unusable
from entropy_grounding.benchmarks.config import BenchmarkConfig, Protocol
from entropy_grounding.benchmarks.load import load_benchmark
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.config import EvaluateConfig, parse_shard
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.rows import Row
from entropy_grounding.evaluation.store import RowStore

PICTURE = Image.new("RGB", (40, 30), "gray")
GOOD = {"questionId": "1", "question": "What is the date?", "answers": ["1 May"], "image": PICTURE}


def parquet(folder, *rows, name="rows.parquet", drop=()):
    features = Features(
        {column: kind for column, kind in SCHEMAS["docvqa"].items() if column not in drop}
    )
    Dataset.from_list(
        [
            {**dict.fromkeys(features), **{k: v for k, v in row.items() if k not in drop}}
            for row in rows
        ],
        features=features,
    ).to_parquet(folder / name)
    return str(folder / name)


def empty(folder):
    Dataset.from_dict({column: [] for column in SCHEMAS["docvqa"]}).to_parquet(
        folder / "rows.parquet"
    )
    return folder / "rows.parquet"


def opened(path, **options):
    """Open DocVQA data; the first row that is no example raises its reason."""
    for example in load_benchmark(
        BenchmarkConfig(name="docvqa", kind="docvqa", path=str(path), **options)
    ):
        if isinstance(example, Unusable):
            raise InputError(example.reason)


def offline(folder, name):
    with (
        mock.patch("datasets.config.HF_HUB_OFFLINE", True),
        mock.patch("huggingface_hub.constants.HF_HUB_OFFLINE", True),
    ):
        opened(name)


def truncated(path):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])
    return path


def stored(folder, target="entropy", shard="1/1"):
    config = {"vlm": {"name": "a"}, "benchmark": {"name": "b"}, "method": {"target": target}}
    store = RowStore(folder, {"config_hash": target, "config": config}, shard)
    with store.locked():
        store.begin({})
        store.add(Row(0, "id", target, "a", "b", "m", "{}"), flush_every=1)
    return store


def truncated_rows(folder):
    stored(folder)
    merge(folder)
    truncated(folder / "rows.parquet")
    load_rows(folder)


def full_disk(folder):
    store = stored(folder)
    store.waiting.append(Row(1, "id1", "entropy", "a", "b", "m", "{}"))
    with mock.patch("os.fsync", side_effect=OSError(28, os.strerror(28))):
        store.flush()


def in_use(folder):
    with stored(folder).locked():
        stored(folder)


def a_file(folder):
    (folder / "taken").write_text("")
    return folder / "taken"


CASES = {
    "hub unreachable, dataset gated or renamed": (
        lambda d: offline(d, "nobody/renamed"),
        "hf download --repo-type dataset nobody/renamed",
    ),
    "no such file": (
        lambda d: opened("./nowhere.parquet"),
        "No data set at './nowhere.parquet': check the path",
    ),
    "no parquet file in the folder": (lambda d: opened(d), "holds no parquet file"),
    "missing column": (
        lambda d: opened(parquet(d, GOOD, drop=("answers",))),
        "has no column answers: it has",
    ),
    "empty split": (lambda d: opened(empty(d)), "has no row in split 'validation'"),
    "truncated parquet": (
        lambda d: opened(truncated(parquet(d, GOOD))),
        "Could not read the data set",
    ),
    "an example without image": (
        lambda d: opened(parquet(d, {**GOOD, "image": None})),
        "Example '1' has no readable image",
    ),
    "an example with a broken image": (
        lambda d: opened(parquet(d, {**GOOD, "image": {"bytes": b"\x89PNG", "path": None}})),
        "The image of example '1' is not a picture that Pillow can read",
    ),
    "an example without question": (
        lambda d: opened(parquet(d, {**GOOD, "question": " "})),
        "Example '1' has no question",
    ),
    "an example without answer": (
        lambda d: opened(parquet(d, {**GOOD, "answers": []})),
        "Example '1' has no answers",
    ),
    "duplicate ids": (lambda d: opened(parquet(d, GOOD, GOOD)), "The id '1' occurs twice"),
    "unknown benchmark": (lambda d: load_benchmark("mmlu"), "Unknown benchmark 'mmlu': use one of"),
    "a switch that the benchmark does not know": (
        lambda d: opened(parquet(d, GOOD), protocol=Protocol(ocr_tokens=True)),
        "protocol.ocr_tokens has no meaning for DocVQA",
    ),
    "no example asked for": (
        lambda d: opened(parquet(d, GOOD), examples=0),
        "examples is 0: use at least 1",
    ),
    "results folder of another config hash": (
        lambda d: (stored(d), stored(d, "margin")),
        "method.target is 'margin', there 'entropy'",
    ),
    "truncated rows file": (truncated_rows, "is damaged: its SHA-256 .*merge its parts again"),
    "results folder cannot be written": (
        lambda d: stored(a_file(d) / "x"),
        "Could not write to the results folder",
    ),
    "disk full": (full_disk, "No space left on device.*complete part files are kept"),
    "shard index out of range": (
        lambda d: parse_shard("9/8"),
        "shard is '9/8': use i/n with i from 1 to n",
    ),
    "the same shard twice at a time": (in_use, "Another process is writing shard_001_of_001"),
    "no rows to join": (merge, "holds no rows: run"),
    "a part file of zero rows": (
        lambda d: replace(EvaluateConfig(), flush_every=0),
        "flush_every is 0: it must be at least 1",
    ),
}


def message(case):
    """Return the sentence that a case ends with."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            CASES[case][0](Path(folder))
        except InputError as error:
            return str(error).replace(folder, "FOLDER")
    return ""


def main():
    print("| bad input | message |\n|---|---|")
    missing = 0
    for case in CASES:
        said = message(case)
        missing += not said
        print(f"| {case} | {said or 'NONE'} |")
    sys.exit(missing)


if __name__ == "__main__":
    main()
