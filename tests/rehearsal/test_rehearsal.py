"""The cut of the rehearsal: twins from facts alone.

Left out of the cut: all VLMs but LLaVA-1.5 (their twins are loaded here), all benchmarks but V* and
two beyond the paper, the notebooks of the ablations, publish and report, Table 1 offline:
`make rehearsal` does them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from child import Child, served
from published import PUBLISHED
from twins import INDEX, TWINS, write_twin

from support.hub import Fault, Hub

HERE = Path(__file__).parent
LLAVA = "llava_1_5_7b"
BEYOND_THE_PAPER = {
    "hr_bench_4k": "DreamMr/HR-Bench",
    "mme_realworld_lite": "yifanzhang114/MME-RealWorld-lite-lmms-eval",
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    return {name: write_twin(twin, folder / name) for name, twin in TWINS.items()}


@pytest.fixture(scope="module")
def child(twins, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    models = {TWINS[name].hub_id: path for name, path in twins.items()}
    with served(models, folder) as child:
        yield child


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_loads_from_the_facts_alone(name, fresh):
    """Token ids, tiles and tensor names fit together: the loader checks all of them."""
    known = name if name != "qwen2_5_vl_3b" else "qwen2_5_vl_7b"
    assert fresh.ask("vlm", known, f"weights={TWINS[name].hub_id}") == ""


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_keeps_the_facts(name, twins):
    folder, twin = twins[name], TWINS[name]
    config = json.loads((folder / "config.json").read_text())
    named = json.loads((folder / INDEX).read_text())["weight_map"]

    image = config.get("image_token_id", config.get("image_token_index"))
    assert twin.tokens[image] in ("<image>", "<IMG_CONTEXT>", "<|image_pad|>")
    assert len(set(named.values())) == 3
    assert sum(path.stat().st_size for path in folder.iterdir()) < 150e6

    # A twin is small because of widths and depth alone.
    text, released = config.get("text_config", config), twin.config.get("text_config", twin.config)
    assert text["vocab_size"] == released["vocab_size"]
    assert text["max_position_embeddings"] == released["max_position_embeddings"]
    assert config.get("image_grid_pinpoints") == twin.config.get("image_grid_pinpoints")


def test_an_image_is_followed_by_the_released_ids(twins):
    """LLaVA's line break after a picture is 29871, 13; ChatML's roles begin at 151644."""
    from transformers import AutoTokenizer

    llama = AutoTokenizer.from_pretrained(twins[LLAVA])
    assert llama("USER: <image>\nA")["input_ids"][-4:-1] == [32000, 29871, 13]
    assert llama("A")["input_ids"].count(1) == 1

    qwen = AutoTokenizer.from_pretrained(twins["qwen2_5_vl_7b"])
    assert qwen("<|im_start|>a\n")["input_ids"] == [151644, 64, 198]


@pytest.mark.parametrize("kind", ["unauthorized", "gated", "too_many", "broken", "hung_up", "cut"])
def test_a_data_set_that_cannot_be_fetched_gives_one_sentence(kind, fresh):
    fresh.hub.faults[:] = [Fault(kind, "parquet" if kind == "cut" else "vstar-bench")]
    said = fresh.ask("benchmark", "vstar")
    assert "lmms-lab-encoder/vstar-bench" in said and "\n" not in said

    fresh.hub.faults.clear()
    assert fresh.ask("benchmark", "vstar") == ""


def test_what_was_read_once_is_read_again_without_the_hub(fresh):
    """A branch's commit is noted in the cache, although files are fetched by commit."""
    wanted = ("vlm", LLAVA), ("benchmark", "textvqa"), ("benchmark", "vstar"), ("benchmark", "gqa")
    assert [fresh.ask(*words) for words in wanted] == [""] * 4

    seen = len(fresh.hub.requests)
    alone = Child(fresh.hub, fresh.home, HF_HUB_OFFLINE="1")
    said = [alone.ask(*words) for words in wanted]
    alone.process.kill()
    assert said == [""] * 4
    assert len(fresh.hub.requests) == seen


@pytest.mark.parametrize("name", BEYOND_THE_PAPER)
def test_a_benchmark_beyond_the_paper_is_fetched_and_evaluated(name, fresh, tmp_path):
    """Through the same commands: fetched, looked at, evaluated."""
    assert BEYOND_THE_PAPER[name] in PUBLISHED
    status, printed = fresh.ask("eg", "fetch", f"benchmark={name}")
    assert status == 0, printed
    files = {path.name for path in fresh.home.rglob("*.parquet")}
    assert len(files) == 1, files  # of HR-Bench, the resolution that was asked for

    chosen = ["vlm=llava_1_5_7b", f"benchmark={name}", "method=base"]
    status, printed = fresh.ask("eg", "doctor", *chosen)
    assert name in printed and BEYOND_THE_PAPER[name] in printed, printed

    twin = ["vlm.name=twin", "vlm.dtype=float32", "tracking=disabled", f"results_dir={tmp_path}"]
    status, printed = fresh.ask(
        "eg", "evaluate", *chosen, *twin, "benchmark.protocol.max_new_tokens=2"
    )
    assert status == 0, printed
    assert "n = 4" in printed and "as published: plain " in printed, printed


def test_the_path_of_a_real_run(tmp_path):
    """Fetch, evaluate, killed and resumed, Table 1 with all methods, evaluate from the cache."""
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), "--cut", "--out", str(tmp_path)],
        env=Hub.environment_of_a_stranger() | {"PYTHONPATH": str(HERE.parents[1] / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
