"""One VLM, one benchmark, one or more methods, one stored row per example.

A run resumes where it stopped.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm

from entropy_grounding.benchmarks.base import (
    Benchmark,
    Example,
    LoadedBenchmark,
    Unusable,
    check_evidence,
)
from entropy_grounding.benchmarks.load import load_benchmark
from entropy_grounding.core.environment import environment_of
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.images import with_boxes
from entropy_grounding.evaluation.config import (
    EvaluateConfig,
    boxes_identity,
    fingerprint,
    label_of,
    parse_shard,
    resolved,
    results_folder,
    run_manifest,
)
from entropy_grounding.evaluation.example import evaluate_example
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.places import evidence_of, with_evidence
from entropy_grounding.evaluation.prefetch import prefetched
from entropy_grounding.evaluation.retried import MOST_RETRIED, check_retried
from entropy_grounding.evaluation.rows import WALL_TIMES, Row
from entropy_grounding.evaluation.store import RowStore, stored_rows
from entropy_grounding.tracking import PICTURES, Tracked, log_evaluation, tracked_run
from entropy_grounding.vlm.cached import CachedVLM
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import short_identity

# Methods that find their crops by themselves; the other controls copy those of the paper's loop.
_OWN_CROPS = ("found", "window", "search", "nested", "anytime", "oracle")


def evaluate(config: EvaluateConfig, vlm: VLM | None = None) -> pd.DataFrame:
    """Answer every example that has no row yet, and return the rows of all.

    Args:
        config: what to evaluate.
        vlm: the model, if it is loaded already. By default it is loaded from ``config.vlm``, after
            the data has been checked.

    Returns:
        The rows on disk (columns of `Row`), also those of other shards.

    Raises:
        InputError: for data, weights, results or options that cannot be used, and if every example
            fails alike. An example that fails becomes a row instead.
    """
    (rows,) = evaluate_together([config], vlm)
    return rows


def evaluate_together(
    configs: Sequence[EvaluateConfig], vlm: VLM | None = None
) -> list[pd.DataFrame]:
    """Answer by several methods, example by example, and compute only once what they share.

    Rows equal those of `evaluate`. Of several methods no wall times are recorded: they would say
    nothing about one method alone.

    Args:
        configs: of one VLM and benchmark.
        vlm: the model, if it is loaded already.

    Returns:
        The rows on disk of each configuration.

    Raises:
        InputError: as `evaluate`, where memory ran out too often, and for configurations that
            differ in VLM or benchmark.
    """
    configs = [resolved(config) for config in configs]
    _check_alike(configs)
    first, alone = configs[0], len(configs) == 1

    loaded = load_benchmark(first.benchmark)
    for config in configs:
        check_evidence(loaded, config.method)
    evaluations = [_Evaluation(config, keep_times=alone) for config in configs]

    with _threads(first.threads), ExitStack() as stack:
        for evaluation in evaluations:
            stack.enter_context(evaluation.store.locked())
            evaluation.read_done()
        model = vlm or load_vlm(first.vlm)
        model = model if alone else CachedVLM(model)

        for evaluation in evaluations:
            evaluation.store.begin(environment_of(model))
            evaluation.fill_places()
        if alone:  # with many methods as many runs of W&B would be open
            stack.enter_context(evaluations[0].tracked())

        pictures = _answer_all(evaluations, loaded, model)
        for evaluation in evaluations:
            evaluation.finish(loaded, pictures)

    stored = [evaluation.store.stored() for evaluation in evaluations]
    for evaluation, rows in zip(evaluations, stored, strict=True):
        check_retried(rows, evaluation.store.folder, evaluation.config.most_retried)
    return stored


def _check_alike(configs: Sequence[EvaluateConfig]) -> None:
    """Refuse configurations that differ in more than their methods."""
    first = configs[0]
    shared = (first.vlm, first.benchmark, first.shard)
    if any((config.vlm, config.benchmark, config.shard) != shared for config in configs):
        raise InputError(
            "Only methods may differ between configurations that "
            "are evaluated together: use one VLM and one benchmark."
        )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads of the CPU for a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- The loop ---


def _answer_all(
    evaluations: "Sequence[_Evaluation]", loaded: LoadedBenchmark, vlm: VLM
) -> dict[str, Image.Image]:
    """Answer every example that some evaluation lacks; return the first pictures, by example id."""
    first = evaluations[0].config
    done = set.intersection(*(evaluation.done for evaluation in evaluations))
    alone = len(evaluations) == 1
    methods = f"{first.vlm.name} {first.benchmark.name} {len(evaluations)} methods"

    bar = tqdm(
        prefetched(_examples(loaded, first, done)),
        desc=label_of(first) if alone else methods,
        total=first.benchmark.examples,
        initial=len(done),
    )
    pictures: dict[str, Image.Image] = {}
    for number, example in bar:
        for evaluation in evaluations:
            if example.id not in evaluation.done:
                report = evaluation.answer(vlm, number, example, loaded.benchmark)
                if alone:
                    bar.set_postfix(report)

        if len(pictures) < PICTURES and isinstance(example, Example):
            pictures[example.id] = example.image
        if isinstance(vlm, CachedVLM):
            vlm.forget()

    return pictures


def _examples(
    loaded: LoadedBenchmark, config: EvaluateConfig, done: set[str]
) -> Iterator[tuple[int, Example | Unusable]]:
    """Yield (number of the row of the data, example) for the examples without a stored row."""
    shard, shards = parse_shard(config.shard)
    # With rotations a row of the data set has several examples, each with an id of its own.
    several = config.benchmark.protocol.option_order == "rotations"

    def wanted(number: int, identity: str) -> bool:
        return number % shards == shard - 1 and (several or identity not in done)

    for number, example in loaded.numbered(wanted):
        if example.id not in done:
            yield number, example


class _Evaluation:
    """One evaluation while it runs.

    Args:
        config: what is evaluated.
        keep_times: record wall times.

    Attributes:
        store: its rows on disk.
        done: ids of the examples that have a row.
    """

    def __init__(self, config: EvaluateConfig, *, keep_times: bool) -> None:
        self.config = config
        self.keep_times = keep_times
        self.source = run_manifest(config)
        self.store = RowStore(results_folder(config), self.source, config.shard)
        self.done: set[str] = set()
        self._copied = _crops_to_copy(config)
        self._means, self._failures = _Means(), _Failures(config.stop_after)
        self._run: Tracked | None = None

    def read_done(self) -> None:
        """Read which examples have a row already."""
        self.done = self.store.stored_ids(ok_only=self.config.retry_failed)

    def fill_places(self) -> None:
        """Fill the places of stored rows, if evidence boxes came after them, or others."""
        boxes = boxes_identity(self.config)
        if boxes is None or self.store.recorded("boxes") == boxes:
            return

        # Read apart from the examples to answer, whose reading is counted.
        evidence = evidence_of(load_benchmark(self.config.benchmark), self.store.stored_ids())
        self.store.rewrite(lambda rows: with_evidence(rows, evidence), boxes=boxes)

    def answer(
        self, vlm: VLM, number: int, example: Example | Unusable, benchmark: Benchmark
    ) -> dict[str, float]:
        """Answer an example, store its row, and return the mean scores so far."""
        row = evaluate_example(
            vlm,
            number,
            example,
            benchmark,
            self.config,
            self.source["config_hash"],
            self._copied.get(example.id),
        )
        if not self.keep_times:
            unknown: dict[str, Any] = dict.fromkeys(WALL_TIMES)
            row = replace(row, **unknown)
        self.store.add(row, flush_every=self.config.flush_every)

        report = self._means.add(row)
        if self._run is not None:
            self._run.log(report)
        self._failures.add(row)
        return report

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Log to W&B for a block."""
        config = self.config
        with tracked_run(
            config.tracking,
            self.store.folder / "tracking",
            job_type="evaluate",
            config={**self.source["config"], "config_hash": self.source["config_hash"]},
            name=label_of(config).replace(" ", "/"),
            tags=[
                *(config.vlm.name, config.benchmark.name, config.method_name),
                *(self.source["commit"], short_identity(self.source)),
            ],
        ) as run:
            self._run = run
            yield

    def finish(self, loaded: LoadedBenchmark, pictures: dict[str, Image.Image]) -> None:
        """Record that the data was read to its end, join the rows, and log them with pictures."""
        self.store.flush()
        self.store.finish(examples=self.config.benchmark.examples, rows=loaded.seen)
        if self.config.shard == "1/1":
            # Only another limit than the default is recorded for tables.
            most = self.config.most_retried
            merge(self.store.folder, None if most == MOST_RETRIED else most)

        if self._run is not None:
            self._log(self._run, pictures)
            return
        with self.tracked():
            assert self._run is not None
            self._log(self._run, pictures)

    def _log(self, run: Tracked, pictures: dict[str, Image.Image]) -> None:
        if not run.is_open:  # nothing is drawn for nobody
            return

        rows = self.store.stored()
        crops = dict(zip(rows["example_id"], rows["crops"], strict=True))
        drawn = {
            name: with_boxes(picture, [Box(*box) for box in crops[name]])
            for name, picture in pictures.items()
        }
        log_evaluation(run, rows, drawn, self.store.folder)


class _Means:
    """The mean scores so far, in percent, and how many examples have none."""

    def __init__(self) -> None:
        self.plain = self.score = 0.0
        self.scored = self.rows = 0

    def add(self, row: Row) -> dict[str, float]:
        """Count a row, and return the values to show."""
        self.rows += 1
        if row.status == "ok":
            self.scored += 1
            self.plain += row.plain_score or 0.0
            self.score += row.score or 0.0

        scored = max(self.scored, 1)
        report = {
            "plain": round(100 * self.plain / scored, 1),
            "score": round(100 * self.score / scored, 1),
        }
        if self.scored < self.rows:
            report["failed"] = self.rows - self.scored
        return report


class _Failures:
    """The failures in a row for the same reason; at most ``limit`` of them, None for any number."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.reason, self.count = "", 0

    def add(self, row: Row) -> None:
        """Count a row.

        Raises:
            InputError: when there are too many.
        """
        if row.status != "failed":
            self.reason, self.count = "", 0
            return

        self.count = self.count + 1 if row.reason == self.reason else 1
        self.reason = row.reason
        if self.count == self.limit:
            raise InputError(
                f"{self.count} examples in a row failed for the same reason ({self.reason}): "
                "stopped. Their rows are kept; when the reason is mended, run the same command "
                "with retry_failed=true."
            )


def check_answered(rows: pd.DataFrame, config: EvaluateConfig) -> None:
    """Refuse an evaluation without a single score: nothing was measured.

    Args:
        rows: of the evaluation.
        config: what was evaluated.

    Raises:
        InputError: naming the first reason.
    """
    if len(rows) and not (rows["status"] == "ok").any():
        raise InputError(
            f"None of the {len(rows)} examples of {label_of(config)} has a score; the "
            f"first: {rows['reason'].iloc[0]}"
        )


def _crops_to_copy(config: EvaluateConfig) -> dict[str, tuple[Box, ...]]:
    """Return the crops that a control copies, by example id, from stored rows of the paper's loop.

    The rows must have otherwise the same configuration. A control without them runs the loop
    itself.
    """
    if config.method.crops in _OWN_CROPS:
        return {}

    wanted = fingerprint(replace(config, method=replace(config.method, crops="found")))
    crops: dict[str, tuple[Box, ...]] = {}
    for folder in sorted(results_folder(config).parent.glob("*")):
        rows: Any = stored_rows(folder)
        usable = (rows["config_hash"] == wanted) & (rows["status"] == "ok")
        for row in rows[usable & (rows["retried"] == "")].itertuples():
            crops[row.example_id] = tuple(Box(*box) for box in row.crops)

    return crops
