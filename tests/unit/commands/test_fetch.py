"""`eg fetch` against a hub on loopback: what is fetched is what runs read, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from support.hub import Hub

CHECKPOINT = "llava-hf/llava-1.5-7b-hf"
DATA = "lmms-lab-encoder/POPE"
SMALL = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def hub(tmp_path):
    """A checkpoint with files that nobody reads, and a data set with two splits."""
    weights, data = tmp_path / "weights", tmp_path / "data"
    for folder in (weights, data / "data"):
        folder.mkdir(parents=True)
    for name in SMALL:
        (weights / name).write_text(json.dumps({"name": name}))
    for name in SHARDS:
        save_file({name[:11]: np.zeros(50_000, "uint8")}, weights / name)
    index = {"weight_map": {name[:11]: name for name in SHARDS}}
    (weights / "model.safetensors.index.json").write_text(json.dumps(index))
    (weights / "pytorch_model.bin").write_bytes(b"pickled" * 9)

    for name in ("test-00000-of-00002", "test-00001-of-00002", "train-00000-of-00001"):
        pq.write_table(pa.table({"question": [name]}), data / "data" / f"{name}.parquet")
    files = [{"split": split, "path": f"data/{split}-*"} for split in ("train", "test")]
    card = {"configs": [{"config_name": "default", "data_files": files}]}
    (data / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")

    with Hub({CHECKPOINT: weights}, {DATA: data}) as running:
        yield running


def fetch(environment, *arguments):
    command = [sys.executable, "-m", "entropy_grounding", "fetch", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def fetched(home):
    return {path.name for path in Path(home).rglob("*") if path.is_file() and path.is_symlink()}


def test_what_runs_read_is_fetched_and_nothing_else(hub, tmp_path):
    environment = hub.environment(tmp_path / "home")
    done = fetch(environment, "vlm=llava_1_5_7b,tiny_llava", "benchmark=pope,mini_gqa")
    assert done.returncode == 0, done.stderr
    assert "tiny_llava: nothing to fetch" in done.stdout
    assert "mini_gqa: nothing to fetch" in done.stdout
    assert f"export HF_HOME={tmp_path / 'home'} HF_HUB_OFFLINE=1" in done.stdout
    assert "data of lmms-lab-encoder/POPE at" in done.stdout
    assert fetched(tmp_path / "home") == {
        *(*SMALL, *SHARDS, "model.safetensors.index.json", "README.md"),
        *("test-00000-of-00002.parquet", "test-00001-of-00002.parquet"),
    }

    # The same files are found without a network, and read.
    read = (
        "from entropy_grounding.benchmarks.load import benchmark_config\n"
        "from entropy_grounding.benchmarks.sources import open_rows\n"
        "config = benchmark_config('pope')\n"
        "print([row['question'] for row in open_rows(config.path, config, ['question'])])"
    )
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", read], env=offline, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "['test-00000-of-00002', 'test-00001-of-00002']", done.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("vlm=llava", "Unknown vlm 'llava'"),
        ("benchmark=popes", "Unknown benchmark 'popes'"),
        ("weights=x", "'weights=x' is no choice: use vlm=A,B or benchmark=A,B"),
        ("vlm=", "Nothing to fetch"),
    ],
)
def test_wrong_names_are_one_sentence(argument, message, eg, capsys):
    assert eg("fetch", argument) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert message in said
