"""`eg doctor`: what is wrong is said before anything is loaded, with its remedy."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropy_grounding.core.config import compose_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import EvaluateConfig, resolved, results_folder
from entropy_grounding.evaluation.files import MANIFEST
from entropy_grounding.experiments.doctor import Doctor, check_all
from entropy_grounding.vlm.weights import TINY
from support.benchmark_rows import parquet
from support.hub import Hub

ORDER = "versions device weights processor memory data boxes disk results W&B time".split()


def composed(tmp_path, *overrides):
    options = [*overrides, "method_name=any", f"results_dir={tmp_path / 'rows'}"]
    return resolved(compose_config(options, "evaluate", EvaluateConfig))


def findings(config):
    return {found.name: found for found in Doctor().examine(config)}


def wrong(config):
    return {name: found.remedy for name, found in findings(config).items() if found.remedy}


@pytest.fixture
def copied(tmp_path):
    """A copy of the tiny LLaVA, to damage."""
    return shutil.copytree(TINY / "llava", tmp_path / "copy")


def of_copy(folder):
    return (f"vlm.weights={folder}", "vlm.name=copy")


def test_everything_is_looked_at_and_a_tiny_vlm_can_run(tmp_path):
    found = findings(composed(tmp_path))
    assert list(found) == ORDER
    assert not [each for each in found.values() if each.remedy or not each.looked]
    assert "no rows yet" in found["results"].value
    assert found["time"].value.startswith("0.")


def test_nothing_is_written(tmp_path):
    findings(composed(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_cut_off_is_found_and_what_needs_it_is_not_looked_at(tmp_path, copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    found = findings(composed(tmp_path, *of_copy(copied)))
    assert "is cut off or damaged" in found["weights"].remedy
    assert [name for name, each in found.items() if not each.looked] == [
        *("processor", "memory", "disk", "results")
    ]


def test_a_processor_of_another_family_is_found(tmp_path, copied):
    settings = json.loads((TINY / "qwen2_5_vl" / "processor_config.json").read_text())
    own = json.loads((copied / "processor_config.json").read_text())
    own["image_processor"] = settings["image_processor"]
    (copied / "processor_config.json").write_text(json.dumps(own))
    assert "is of another family" in wrong(composed(tmp_path, *of_copy(copied)))["processor"]


def test_memory_that_is_too_small_is_said_with_the_options_that_fit(tmp_path, monkeypatch):
    config = composed(tmp_path, "vlm.checkpointing=off")
    need = Doctor().gigabytes(config)
    least = Doctor().gigabytes(replace(config, vlm=replace(config.vlm, checkpointing="on")))
    assert least < need
    between = (least + need) / 2 * 1e9
    monkeypatch.setattr("entropy_grounding.experiments.doctor.free_bytes", lambda _: between)
    assert "add vlm.checkpointing=on." in wrong(config)["memory"]

    monkeypatch.setattr("entropy_grounding.experiments.doctor.free_bytes", lambda _: 1.0)
    assert "take a larger GPU" in wrong(config)["memory"]


def test_a_kernel_that_is_not_installed_is_found(tmp_path):
    config = composed(tmp_path, "vlm.attention=flash_attention_2")
    assert wrong(config) == {
        "device": "vlm.attention is 'flash_attention_2', and flash-attn is not installed: use "
        "vlm.attention=sdpa."
    }


def test_data_with_other_columns_are_found(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"questions": ["what?"]}), path)
    config = composed(tmp_path, "benchmark=pope", f"benchmark.path={path}")
    assert "has no column" in wrong(config)["data"]


def test_an_oracle_without_boxes_is_found(tmp_path):
    path = parquet(tmp_path, "docvqa")
    local = ("benchmark=docvqa", f"benchmark.path={path}")
    assert "boxes" not in wrong(composed(tmp_path, *local))
    found = wrong(composed(tmp_path, *local, "method=control_oracle"))
    assert "has no evidence boxes: name a file" in found["boxes"]


def test_rows_of_another_environment_are_found(tmp_path):
    config = composed(tmp_path)
    folder = results_folder(config)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps({"environment": {"torch": "1.0"}, "config": {}}))
    assert "torch was 1.0" in wrong(config)["results"]


def test_what_the_hub_has_is_counted_before_it_is_fetched(tmp_path, monkeypatch):
    with Hub({"who/tiny": TINY / "llava"}) as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        command = [sys.executable, "-m", "entropy_grounding", "doctor", "vlm.name=other"]
        done = subprocess.run(
            [*command, "vlm.weights=who/tiny", f"results_dir={tmp_path}"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "go"
    weights = next(line for line in done.stdout.splitlines() if "weights" in line)
    assert "who/tiny at" in weights
    assert "GB to fetch (eg fetch)" in weights
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_no_go_ends_with_status_2_and_names_what_is_wrong(eg, capsys):
    assert eg("doctor", "vlm.weights=/nowhere", "vlm.name=other") == 2
    said = capsys.readouterr()
    assert "No weights folder at '/nowhere'" in said.out
    assert said.err.strip() == "error: no-go: weights; the remedies stand above."


def test_a_rerun_is_refused_with_every_remedy(tmp_path):
    config = composed(tmp_path, "vlm.attention=flash_attention_2")
    assert check_all([composed(tmp_path)]) == 1
    with pytest.raises(InputError, match="no-go .*\n  tiny_llava mini_textvqa: device: vlm.att"):
        check_all([config, composed(tmp_path)])


def test_rerun_starts_nothing_that_cannot_run(eg, capsys, tmp_path):
    places = [f"results_dir={tmp_path / 'rows'}", f"output_dir={tmp_path / 'out'}"]
    wrong = "vlm.attention=flash_attention_2"
    assert eg("rerun", "experiment=table1", "run=smoke", *places, wrong) == 2
    said = capsys.readouterr().err
    assert "error: no-go (--no-doctor starts all the same):" in said
    assert said.count("flash-attn is not installed") == 1
    assert not list(tmp_path.iterdir())
