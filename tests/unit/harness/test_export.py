"""Benchmarks as tasks of lmms-eval: columns, order of rows, task file, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, Image, load_dataset
from huggingface_hub import DatasetCard, DatasetCardData

from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.load import benchmark_config, load_benchmark
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import to_rgb
from entropy_grounding.harness.export import TASKS, ExportConfig, export
from entropy_grounding.vlm.config import VLMConfig
from support.benchmark_rows import DEFAULTS, parquet


def exported(folder, benchmark, **options):
    return export(ExportConfig(benchmark=benchmark, out=str(folder / "out"), **options))


def task_of(path):
    """Read a task file as lmms-eval does, with functions as their names."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    return yaml.load(path.read_text(), Loader)


@pytest.mark.parametrize("kind", list(TASKS))
def test_a_miniature_has_the_published_columns_and_our_pictures(tmp_path, kind):
    config = benchmark_config(f"mini_{kind}", examples=3)
    rows, path, _ = exported(tmp_path, config)
    task = task_of(path)

    (split, file), *_ = task["dataset_kwargs"]["data_files"].items()
    assert (task["task"], task["test_split"], split) == (f"mini_{kind}", "test", "test")
    data = load_dataset("parquet", data_files=str(path.parent / file), cache_dir=str(tmp_path))
    joined = {"image": Image()} if kind == "gqa" else {}
    assert data["train"].features == Features({**SCHEMAS[kind], **joined})
    assert rows.name == file

    examples = list(load_benchmark(config))
    assert len(data["train"]) == len(examples) == 3
    for row, example in zip(data["train"], examples, strict=True):
        assert np.array_equal(to_rgb(row["image"]), example.image)


def test_the_hub_reads_the_card_of_a_miniature(tmp_path):
    rows, _, path = exported(tmp_path, benchmark_config("mini_docvqa", examples=2))
    read = DatasetCard.load(path)
    assert isinstance(read.data, DatasetCardData)
    assert read.data.license == "apache-2.0"
    assert read.data.configs == [
        {
            "config_name": "mini_docvqa",
            "data_files": [{"split": "test", "path": rows.name}],
        }
    ]
    assert "A miniature, not the published docvqa" in read.text
    assert f"2 rows, split `test`, columns {', '.join(pq.read_schema(rows).names)}." in read.text
    assert "@article{groepl2026entropy" in read.text


def test_the_card_of_a_composite_names_its_photographs(tmp_path):
    _, _, path = exported(tmp_path, benchmark_config("mini_gqa_photo", examples=1))
    read = DatasetCard.load(path)
    assert read.data.license == "other"
    assert "sample photographs of scikit-image" in read.text


def test_the_card_of_own_data_claims_no_licence_and_no_folder_of_the_machine(tmp_path):
    _, _, path = exported(tmp_path, own_data(tmp_path, note=["x"]))
    read = DatasetCard.load(path)
    assert read.data.license == "other"
    assert "miniature" not in read.text
    assert str(tmp_path) not in read.text


def test_the_task_file_names_lmms_evals_own_functions(tmp_path):
    _, path, _ = exported(tmp_path, benchmark_config("mini_docvqa", examples=1))
    task = task_of(path)
    assert task["doc_to_text"] == "lmms_eval.tasks.docvqa.utils.docvqa_doc_to_text"
    assert task["generation_kwargs"] == {"max_new_tokens": 32, "do_sample": False}
    assert [metric["metric"] for metric in task["metric_list"]] == ["anls"]
    assert task["lmms_eval_specific_kwargs"]["default"] == {
        "pre_prompt": "",
        "post_prompt": "\nAnswer the question using a single word or phrase.",
    }


@pytest.mark.parametrize("kind", ["vstar", "realworldqa"])
def test_an_instruction_in_the_text_is_not_added_again(tmp_path, kind):
    _, path, _ = exported(tmp_path, benchmark_config(f"mini_{kind}", examples=1))
    assert task_of(path)["lmms_eval_specific_kwargs"]["default"]["post_prompt"] == ""


def test_gqa_reads_nothing_from_the_hub(tmp_path):
    _, path, _ = exported(tmp_path, benchmark_config("mini_gqa", examples=1))
    assert "process_docs" not in task_of(path)


def test_pictures_have_the_size_that_the_vlm_reads(tmp_path):
    config = benchmark_config("mini_textvqa", examples=1)
    sides = {}
    for family in ("llava", "internvl"):
        vlm = VLMConfig(name=f"tiny_{family}", weights=f"tiny:{family}")
        rows, _, _ = exported(tmp_path / family, config, vlm=vlm)
        data = load_dataset("parquet", data_files=str(rows), cache_dir=str(tmp_path / family))
        sides[family] = data["train"][0]["image"].size[0]
    assert sides["internvl"] == 2 * sides["llava"]


def test_switches_that_a_task_has_are_in_it(tmp_path):
    protocol = {"ocr_tokens": True, "max_new_tokens": 5}
    _, path, _ = exported(tmp_path, benchmark_config("mini_textvqa", examples=1, protocol=protocol))
    task = task_of(path)
    assert task["lmms_eval_specific_kwargs"]["default"]["ocr"] is True
    assert task["generation_kwargs"]["max_new_tokens"] == 5


@pytest.mark.parametrize(
    ("protocol", "named"),
    [
        ({"option_order": "rotations"}, "option_order is 'rotations'"),
        ({"answer_mode": "likelihood"}, "answer_mode is 'likelihood'"),
    ],
)
def test_switches_that_no_task_has_are_refused(tmp_path, protocol, named):
    with pytest.raises(InputError, match=f"{named}.*export with"):
        exported(tmp_path, benchmark_config("mini_vstar", examples=1, protocol=protocol))
    assert not (tmp_path / "out").exists()


def own_data(tmp_path, **changes):
    """Return a parquet file of DocVQA's form with other columns; None removes one."""
    path = parquet(tmp_path, "docvqa", {"docId": 1})
    rows = {**pq.read_table(path).to_pydict(), **changes}
    kept = {name: values for name, values in rows.items() if values is not None}
    # Without the types of `datasets`, which are those of the published columns.
    pq.write_table(pa.table(kept), path)
    return BenchmarkConfig(name="mine", kind="docvqa", path=path, split="test")


def test_own_data_with_the_published_columns_are_exported(tmp_path):
    rows, _, _ = exported(tmp_path, own_data(tmp_path, note=["x"]))
    data = load_dataset("parquet", data_files=str(rows), split="train", cache_dir=str(tmp_path))
    assert data.features == Features(SCHEMAS["docvqa"])
    assert data[0]["question"] == DEFAULTS["docvqa"]["question"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"docId": None}, "no column docId, which the published docvqa"),
        ({"docId": ["page one"]}, "cannot have the columns of the published docvqa"),
        ({"image": [{"path": "page.png"}]}, "Row 0 of '.*' does not hold its picture"),
        ({"image": ["page.png"]}, "Row 0 of '.*' does not hold its picture"),
    ],
)
def test_columns_that_cannot_be_published_are_named(tmp_path, changes, named):
    with pytest.raises(InputError, match=named):
        exported(tmp_path, own_data(tmp_path, **changes))
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"Could not write to .*choose another out="):
        exported(tmp_path, benchmark_config("mini_textvqa", examples=1))
