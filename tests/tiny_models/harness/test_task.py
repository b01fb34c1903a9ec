"""The documents of a task, answered by the tiny LLaVA as its evaluation answers them."""

import json

import pytest
from datasets import Dataset, load_dataset
from PIL import Image

from entropy_grounding.benchmarks.load import benchmark_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.archive import PUBLISHED, load_rows
from entropy_grounding.evaluation.coverage import coverage
from entropy_grounding.evaluation.store import stored_rows
from entropy_grounding.harness.config import harness_config
from entropy_grounding.harness.export import ExportConfig, export
from entropy_grounding.harness.task import Task, TaskAnswers, content_digest

LIMITS = {"max_new_tokens": 16, "do_sample": False, "until": ["\n\n"]}
COLUMNS = ["prompt", "plain_answer", "answer", "rounds", "stop_reason", "forwards", "backwards"]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rows, _, _ = export(
        ExportConfig(benchmark=benchmark_config("mini_textvqa", examples=3), out=str(folder))
    )
    return load_dataset(
        "parquet", data_files=str(rows), split="train", cache_dir=str(folder / "cache")
    )


def asking(document):
    text = (
        f"{document['question'].capitalize()}\nAnswer the question using a single word or phrase."
    )
    parts = [{"type": "image", "url": document["image"]}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


def opened(vlm, folder, documents, shard="1/1", limits=LIMITS):
    config = harness_config([f"results_dir={folder}"])
    return TaskAnswers(vlm, config, Task("mini_textvqa", "test", documents, limits, "0"), shard)


def test_answers_and_rows_are_those_of_the_evaluation(tmp_path, tiny_vlm, documents):
    answers = opened(tiny_vlm, tmp_path, documents)
    with answers.writing():
        said = [answers.answer(number, asking(documents[number])) for number in range(3)]
        again = answers.answer(1, asking(documents[1]))  # padding of several processes
    answers.join()

    stored = load_rows(PUBLISHED / "table1" / "tiny_llava" / "mini_textvqa" / "entropy_gradient")[0]
    rows, source = load_rows(answers.store.folder)
    assert said == list(stored["answer"][:3]) and again == said[1]
    assert rows[COLUMNS].equals(stored[COLUMNS][:3])
    assert list(rows["number"]) == [0, 1, 2] and rows["score"].isna().all()
    assert source["data"] == content_digest(documents)
    assert coverage(answers.store.folder, None).complete


def test_a_task_may_be_asked_in_several_calls(tmp_path, tiny_vlm, documents):
    answers = opened(tiny_vlm, tmp_path, documents)
    for number in range(2):
        with answers.writing():
            answers.answer(number, asking(documents[number]))
    assert list(stored_rows(answers.store.folder)["number"]) == [0, 1]


def test_shards_are_joined(tmp_path, tiny_vlm, documents):
    shards = [opened(tiny_vlm, tmp_path, documents, f"{i}/2") for i in (1, 2)]
    for answers, numbers in zip(shards, ([0, 2], [1]), strict=True):
        with answers.writing():
            for number in numbers:
                answers.answer(number, asking(documents[number]))
    shards[0].join()
    assert list(load_rows(shards[0].store.folder)[0]["number"]) == [0, 1, 2]


def test_rows_of_an_earlier_run_are_not_mixed_with_new_ones(tmp_path, tiny_vlm, documents):
    answers = opened(tiny_vlm, tmp_path, documents)
    with answers.writing():
        answers.answer(0, asking(documents[0]))
    with pytest.raises(
        InputError, match="holds rows of an earlier run: choose another results_dir"
    ):
        opened(tiny_vlm, tmp_path, documents)


def test_other_documents_have_another_identity(documents):
    assert content_digest(documents.select([0, 1, 2])) == content_digest(documents)
    assert content_digest(documents.select([0, 2, 1])) != content_digest(documents)
    changed = documents.map(lambda row: {"question": row["question"] + "!"})
    assert content_digest(changed) != content_digest(documents)


def test_an_error_ends_the_run_and_keeps_its_row(tmp_path, tiny_vlm, documents):
    answers = opened(tiny_vlm, tmp_path, documents)
    message = asking(documents[0])
    message[0]["content"][0]["url"] = Image.new("RGB", (4, 3))
    named = "Document 0 of 'mini_textvqa' has no answer"
    with pytest.raises(InputError, match=named), answers.writing():
        answers.answer(0, message)
    assert list(stored_rows(answers.store.folder)["status"]) == ["failed"]


def test_a_task_without_pictures_is_refused(tmp_path, tiny_vlm):
    documents = Dataset.from_list([{"question": "Why?"}])
    answers = opened(tiny_vlm, tmp_path, documents)
    text = [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]
    with pytest.raises(InputError, match="asks with 'user: text'"), answers.writing():
        answers.answer(0, text)


def test_the_length_limit_is_that_of_the_task(tmp_path, tiny_vlm, documents):
    limits = {**LIMITS, "max_new_tokens": 1}
    answers = opened(tiny_vlm, tmp_path, documents, limits=limits)
    with answers.writing():
        answers.answer(0, asking(documents[0]))
    protocol = json.loads(stored_rows(answers.store.folder)["protocol"][0])
    assert protocol["max_new_tokens"] == 1
