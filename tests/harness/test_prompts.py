"""The prompts that lmms-eval makes of exported rows, where it is installed (make harness)."""

import importlib

import pytest
import yaml
from datasets import load_dataset

pytest.importorskip("lmms_eval", reason="needs lmms-eval: make harness")

from entropy_grounding.benchmarks.load import benchmark_config, load_benchmark
from entropy_grounding.harness.export import TASKS, ExportConfig, export


class Loader(yaml.SafeLoader):
    """Reads the names of functions."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@pytest.mark.parametrize("kind", list(TASKS))
def test_the_prompts_are_ours(tmp_path, kind):
    config = benchmark_config(f"mini_{kind}", examples=10)
    rows, path, _ = export(ExportConfig(benchmark=config, out=str(tmp_path)))
    task = yaml.load(path.read_text(), Loader)
    module, _, name = task["doc_to_text"].rpartition(".")
    prompt = getattr(importlib.import_module(module), name)

    documents = load_dataset(
        "parquet", data_files=str(rows), split="train", cache_dir=str(tmp_path / "cache")
    )
    given = task["lmms_eval_specific_kwargs"]["default"]
    theirs = [prompt(document, given) for document in documents]
    assert theirs == [example.prompt for example in load_benchmark(config)]
