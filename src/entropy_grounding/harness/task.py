"""Answer the documents of one task, and keep a row of each."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from entropy_grounding.benchmarks.base import Benchmark, Example
from entropy_grounding.benchmarks.config import BenchmarkConfig, Protocol
from entropy_grounding.core.environment import environment_of
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import (
    EvaluateConfig,
    resolved,
    results_folder,
    run_manifest,
)
from entropy_grounding.evaluation.example import evaluate_example
from entropy_grounding.evaluation.files import ROWS
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.retried import check_retried
from entropy_grounding.evaluation.store import RowStore
from entropy_grounding.harness.config import HarnessConfig
from entropy_grounding.harness.request import answer_length, read_request
from entropy_grounding.vlm.model import VLM

_BATCH = 256  # documents that are hashed at once


class _Unscored(Benchmark):
    """A benchmark whose answers somebody else scores."""

    def score(self, answer: str, example: Example) -> float:
        """Return no score."""
        return math.nan


@dataclass(frozen=True)
class Task:
    """A task of lmms-eval.

    Attributes:
        name: of the task.
        split: of its data.
        documents: the rows of the split, a `datasets.Dataset`.
        limits: its generation options.
        harness: version of lmms-eval.
    """

    name: str
    split: str
    documents: Any
    limits: Mapping[str, Any]
    harness: str

    def identities(self) -> dict[str, str]:
        """Return what identifies the data, for the config hash."""
        return {
            "data": content_digest(self.documents),
            "task": self.name,
            "lmms_eval": self.harness,
        }


class TaskAnswers:
    """The answers of one VLM and method to the documents of one task.

    Args:
        vlm: the model.
        config: its options and those of the method.
        task: the task.
        shard: "i/n" of this process.

    Raises:
        InputError: for a task that cannot be answered greedily, and for a folder that has rows.
    """

    def __init__(self, vlm: VLM, config: HarnessConfig, task: Task, shard: str = "1/1") -> None:
        self.vlm, self.task = vlm, task
        self.config = resolved(_evaluation(config, task, shard))

        source = run_manifest(self.config, task.identities())
        self.store = RowStore(results_folder(self.config), source, shard)
        self._known: dict[int, str] = {}
        self._check_empty()

    def _check_empty(self) -> None:
        """Refuse a folder with rows of an earlier run, whose prompts may have been others."""
        folder, parts = self.store.folder, self.store.parts.glob(f"{self.store.name}_*.parquet")
        if (folder / ROWS).exists() or any(parts):
            raise InputError(
                f"The results folder '{folder}' holds rows of an earlier run: choose another "
                "results_dir=..., or move that folder away."
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing the same rows for a block, and store all at its end."""
        with self.store.locked():
            self.store.begin(environment_of(self.vlm))
            yield
        self.store.finish(examples=None, rows=len(self.task.documents))

    def answer(self, number: int, messages: Any) -> str:
        """Answer a document, once, and store its row.

        Args:
            number: of the document in the split.
            messages: its chat messages.

        Raises:
            InputError: for a document that the method cannot ask about, and where answering fails.
        """
        if number not in self._known:
            where = f"Document {number} of '{self.task.name}'"
            asked = read_request(messages, self.task.limits, where)
            example = Example(str(number), asked.image, asked.text, asked.text, ())
            source = self.store.source["config_hash"]
            row = evaluate_example(self.vlm, number, example, _Unscored(), self.config, source)

            self.store.add(row, flush_every=self.config.flush_every)
            if row.status != "ok":
                raise InputError(f"{where} has no answer: {row.reason}")
            self._known[number] = asked.cut(str(row.answer))

        return self._known[number]

    def join(self) -> None:
        """Join the rows of all processes into one file.

        Raises:
            InputError: where memory ran out too often.
        """
        merge(self.store.folder)
        check_retried(self.store.stored(), self.store.folder, self.config.most_retried)


def _evaluation(config: HarnessConfig, task: Task, shard: str) -> EvaluateConfig:
    """Return the options under which the answers of a task are rows."""
    asked = BenchmarkConfig(
        name=task.name,
        kind="lmms_eval",
        path=f"lmms_eval:{task.name}",
        split=task.split,
        protocol=Protocol(max_new_tokens=answer_length(task.limits, task.name)),
    )
    return EvaluateConfig(
        vlm=config.vlm,
        benchmark=asked,
        method=config.method,
        method_name=str(config.method_name),
        results_dir=config.results_dir,
        shard=shard,
        flush_every=config.flush_every,
        most_retried=config.most_retried,
    )


def content_digest(documents: Any) -> str:
    """Return the SHA-256 of the documents of a task: equal ones have it wherever they lie.

    Args:
        documents: a `datasets.Dataset`; pictures count as they are encoded.
    """
    digest = hashlib.sha256()
    for table in documents.with_format("arrow").iter(_BATCH):
        sink = pa.BufferOutputStream()
        plain = table.replace_schema_metadata(None).combine_chunks()
        with pa.ipc.new_stream(sink, plain.schema) as stream:
            stream.write_table(plain)
        digest.update(sink.getvalue())

    return digest.hexdigest()
