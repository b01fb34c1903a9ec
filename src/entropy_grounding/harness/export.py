"""Write a benchmark as a task of lmms-eval: a parquet file, its card, and the YAML of a task.

Prompts and scores are those of lmms-eval's own task of the benchmark: the YAML file names its
functions. What differs from that task says why, where it stands.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from entropy_grounding.benchmarks.base import SHORT, LoadedBenchmark, numbered_rows
from entropy_grounding.benchmarks.config import BenchmarkConfig, Protocol
from entropy_grounding.benchmarks.load import load_benchmark
from entropy_grounding.benchmarks.names import drawn_sibling
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.cards import LICENCE, card
from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.config import EvaluateConfig, check_name, resolved
from entropy_grounding.evaluation.files import replace_file
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.vlm.config import VLMConfig

_ROWS = 64  # rows of a row group: their pictures are in memory at once


@dataclass(frozen=True)
class ExportConfig:
    """Options of an export.

    Attributes:
        vlm: for which VLM the pictures of a miniature are drawn, from ``conf/vlm``.
        benchmark: which data and protocol, from ``conf/benchmark``.
        out: folder of the three files; lmms-eval takes it as ``--include_path``.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    out: Place = "outputs/tasks"

    def __post_init__(self) -> None:
        """Refuse a name that is none of a file, before anything is read."""
        check_name("benchmark.name", self.benchmark.name)


register("export_schema", ExportConfig)


@dataclass(frozen=True, slots=True)
class _Task:
    """lmms-eval's own task of a benchmark, as far as an export needs it.

    Attributes:
        module: where its functions are, below ``lmms_eval.tasks``.
        prefix: with which the names of its functions begin.
        target: column of the reference answer.
        metrics: lines of its list of metrics.
        post_prompt: what it puts behind the text of a row.
        scores: whether it has a function ``PREFIX_process_results``.
    """

    module: str
    prefix: str
    target: str
    metrics: tuple[str, ...]
    post_prompt: str = f"\n{SHORT}"
    scores: bool = True


_MEAN = "aggregation: mean, higher_is_better: true"
_EXACT = f"{{metric: exact_match, {_MEAN}, ignore_case: true, ignore_punctuation: true}}"
_POPE = tuple(
    f"{{metric: pope_{name}, aggregation: !function "
    f"lmms_eval.tasks.pope.utils.pope_aggregate_{name}, higher_is_better: true}}"
    for name in ("accuracy", "precision", "recall", "f1_score")
)
_ANLS = (f"{{metric: anls, {_MEAN}}}",)
_VSTAR = (
    "{metric: vstar_overall_acc, aggregation: !function "
    "lmms_eval.tasks.vstar_bench.utils.vstar_aggregate_results, higher_is_better: true}",
)
TASKS = {
    "textvqa": _Task("textvqa", "textvqa", "answers", (f"{{metric: exact_match, {_MEAN}}}",)),
    "docvqa": _Task("docvqa", "docvqa", "answers", _ANLS, scores=False),
    "infovqa": _Task("infovqa", "infovqa", "answers", _ANLS, scores=False),
    "pope": _Task("pope", "pope", "answer", _POPE),
    "gqa": _Task("gqa", "gqa", "answer", (_EXACT,), scores=False),
    # The texts of both have their instruction already; lmms-eval's task of V* adds it once more.
    "vstar": _Task("vstar_bench", "vstar", "label", _VSTAR, ""),
    "realworldqa": _Task(
        "realworldqa", "realworldqa", "answer", (f"{{metric: exact_match, {_MEAN}}}",), ""
    ),
}


def export(config: ExportConfig) -> tuple[Path, Path, Path]:
    """Write a benchmark, with the columns of the published data set and the order of its rows.

    Args:
        config: which benchmark, and where to.

    Returns:
        The parquet file, the YAML file and the dataset card.

    Raises:
        InputError: for data or a protocol that cannot be exported, and a folder that cannot be
            written.
    """
    benchmark = resolved(EvaluateConfig(vlm=config.vlm, benchmark=config.benchmark)).benchmark
    check_exportable(benchmark)
    loaded = load_benchmark(benchmark)

    folder = Path(config.out)
    rows, task, about = (
        folder / f"{benchmark.name}{each}" for each in (".parquet", ".yaml", ".md")
    )
    partial = folder / f".{rows.name}.{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_rows(partial, loaded)
        partial.replace(rows)
        replace_file(task, task_yaml(benchmark, loaded.max_new_tokens).encode())
        columns, count = pq.read_schema(rows).names, pq.read_metadata(rows).num_rows
        replace_file(about, dataset_card(benchmark, columns, count, commit()).encode())
    except OSError as error:
        raise InputError(
            f"Could not write to '{folder}' ({error.strerror or error}): "
            "make room, or choose another out=..."
        ) from error
    finally:
        with suppress(OSError):  # the first error is the one to report
            partial.unlink()

    return rows, task, about


def check_exportable(benchmark: BenchmarkConfig) -> None:
    """Refuse a benchmark without a known task of lmms-eval, and a protocol that no task has.

    Raises:
        InputError: naming the benchmark or the switch.
    """
    if benchmark.kind not in TASKS:
        raise InputError(
            f"benchmark.kind '{benchmark.kind}' cannot be exported: use one of {', '.join(TASKS)}, "
            "or run lmms-eval's own task, which reads the hub."
        )

    usual = Protocol()
    for name in ("option_order", "answer_mode"):
        value, only = getattr(benchmark.protocol, name), getattr(usual, name)
        if value != only:
            raise InputError(
                f"benchmark.protocol.{name} is '{value}', and a task of lmms-eval asks each row of "
                f"the data once, as it is: export with {name}={only}."
            )


# --- Rows ---


def _write_rows(path: Path, loaded: LoadedBenchmark) -> None:
    """Write the rows to a parquet file, row group by row group."""
    kind, place = loaded.config.kind, loaded.config.path
    features = published_features(kind, getattr(loaded.rows, "features", None) or {}, place)
    schema = features.arrow_schema

    with pq.ParquetWriter(path, schema) as file:
        for batch in _batches(_published(loaded, features)):
            try:
                file.write_table(pa.Table.from_pylist(batch, schema=schema))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise InputError(
                    f"The rows of '{place}' cannot have the columns of the published {kind} "
                    f"({' '.join(str(error).split())[:200]}): give them its types."
                ) from error


def published_features(kind: str, columns: Mapping[str, Any], place: str) -> Features:
    """Return the columns to write, with the types of the published data set.

    The pictures of GQA, which are published apart, stand in their rows: lmms-eval's own task would
    fetch those of the hub.

    Args:
        kind: the benchmark.
        columns: those of the rows.
        place: of the data, for the message.

    Raises:
        InputError: for rows that lack a published column.
    """
    published = {**SCHEMAS[kind]}
    joined = {"image": SCHEMAS["gqa_images"]["image"]} if kind == "gqa" else {}
    if missing := [name for name in published if name not in columns]:
        raise InputError(
            f"The data set '{place}' has no column {', '.join(missing)}, which the published "
            f"{kind} has, so it cannot be exported in its form: add it, empty where unknown."
        )

    return Features({**published, **joined})


def _published(loaded: LoadedBenchmark, features: Features) -> Iterator[dict[str, Any]]:
    """Yield the rows without other columns, such as evidence boxes.

    Raises:
        InputError: for a row that does not hold its picture.
    """
    place = loaded.config.path
    for number, row in numbered_rows(loaded.rows, place):
        picture = row["image"]
        if not (isinstance(picture, Mapping) and picture.get("bytes")):
            raise InputError(
                f"Row {number} of '{place}' does not hold its picture: "
                "an export needs the pictures in the rows, not their paths."
            )
        yield {name: row[name] for name in features}


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


# --- Card ---


def dataset_card(benchmark: BenchmarkConfig, columns: Sequence[str], rows: int, commit: str) -> str:
    """Return the dataset card of exported rows, in the hub's format.

    Args:
        benchmark: which benchmark.
        columns: of the rows.
        rows: how many.
        commit: of the code that exported them.
    """
    drawn = benchmark.path.startswith("miniature:")
    composite = drawn_sibling(benchmark.path) != benchmark.path
    file = {"split": benchmark.split, "path": f"{benchmark.name}.parquet"}
    about = {
        "license": LICENCE if drawn and not composite else "other",
        "language": "en",
        "pretty_name": benchmark.name,
        "task_categories": ["visual-question-answering"],
        "tags": ["miniature", "entropy-grounding"] if drawn else ["entropy-grounding"],
        "configs": [{"config_name": benchmark.name, "data_files": [file]}],
    }

    what = (
        f"Rows of '{Path(benchmark.path).name}' in the form of the published {benchmark.kind}. "
        "The licence is that of these data."
    )
    if drawn:
        pictures, licence = "drawn pictures", "Apache-2.0"
        if composite:
            pictures = "drawn cards on sample photographs of scikit-image"
            licence = (
                "Apache-2.0 for what is drawn; the photographs are in the public domain, CC0 or "
                "without known restrictions"
            )
        what = (
            f"**A miniature, not the published {benchmark.kind}**: {pictures}, with the columns, "
            "prompt and metric of the published data set and none of its pictures or questions. "
            f"Pictures have {benchmark.canvas} pixels a side. Scores say nothing about the "
            f"published benchmark. Licence: {licence}."
        )
    made = (
        f"{rows} rows, split `{benchmark.split}`, columns {', '.join(columns)}. Commit: {commit}."
    )
    command = f"Written by `eg export`; lmms-eval reads it through `{benchmark.name}.yaml`."
    return card(about, benchmark.name, what, made, command)


# --- Task ---


def task_yaml(benchmark: BenchmarkConfig, max_new_tokens: int) -> str:
    """Return the task of lmms-eval that reads the exported rows.

    Args:
        benchmark: which benchmark, under which name and split.
        max_new_tokens: length limit of an answer.
    """
    task = TASKS[benchmark.kind]
    functions = f"!function lmms_eval.tasks.{task.module}.utils.{task.prefix}"
    lines = [
        f"# {benchmark.name}, written by eg export; lmms-eval reads it with --include_path FOLDER.",
        f"task: {benchmark.name}",
        "dataset_path: parquet",
        f"dataset_kwargs: {{data_files: {{{benchmark.split}: {benchmark.name}.parquet}}}}",
        f"test_split: {benchmark.split}",
        "output_type: generate_until",
        f"doc_to_visual: {functions}_doc_to_visual",
        f"doc_to_text: {functions}_doc_to_text",
        f"doc_to_target: {task.target}",
        f"generation_kwargs: {{max_new_tokens: {max_new_tokens}, do_sample: false}}",
    ]
    if task.scores:
        lines.append(f"process_results: {functions}_process_results")

    quoted = task.post_prompt.replace("\n", "\\n")
    ocr = f", ocr: {str(benchmark.protocol.ocr_tokens).lower()}" * (benchmark.kind == "textvqa")
    lines += [
        "metric_list:",
        *(f"  - {metric}" for metric in task.metrics),
        f'lmms_eval_specific_kwargs: {{default: {{pre_prompt: "", post_prompt: "{quoted}"{ocr}}}}}',
    ]
    return "\n".join(lines) + "\n"
