"""One VLM, one benchmark, one method, one stored row an example; a run resumes where it stopped."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
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
    fingerprint,
    parse_shard,
    resolved,
    results_folder,
    run_manifest,
)
from entropy_grounding.evaluation.example import evaluate_example
from entropy_grounding.evaluation.merge import merge
from entropy_grounding.evaluation.rows import WALL_TIMES, Row
from entropy_grounding.evaluation.store import RowStore, stored_rows
from entropy_grounding.tracking import PICTURES, log_evaluation, tracked_run
from entropy_grounding.vlm.cached import CachedVLM
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import short_identity

STOP_AFTER = 10  # failures in a row for the same reason


def evaluate(config: EvaluateConfig, vlm: VLM | None = None) -> pd.DataFrame:
    """Answer every example that has no row yet, and return the rows of all.

    Args:
        config: what to evaluate.
        vlm: the model, if it is loaded already; by default it is loaded from ``config.vlm``, after
            the data has been checked.

    Returns:
        The rows on disk (columns of `structures.Row`), also those of other shards.

    Raises:
        InputError: for data, weights, results or options that cannot be used, and where every
            example fails alike; an example that fails is a row instead.
    """
    config = resolved(config)
    loaded = load_benchmark(config.benchmark)
    check_evidence(loaded, config.method)
    begun = _Begun.of(config)
    with _threads(config.threads), begun.store.locked():
        done = begun.done()
        vlm = vlm or load_vlm(config.vlm)
        begun.store.begin(environment_of(vlm))
        with _tracked(begun) as run:
            bar = tqdm(
                _examples(loaded, config, done),
                desc=evaluation_label(config),
                total=config.benchmark.examples,
                initial=len(done),
            )
            running, alike = _Running(), _Alike()
            pictures: dict[str, Image.Image] = {}
            for number, example in bar:
                row = begun.answer(vlm, number, example, loaded.benchmark)
                begun.store.add(row, flush_every=config.flush_every)
                report = running.add(row)
                bar.set_postfix(report)
                run.log(report)
                alike.add(row)
                _remember(pictures, example)
            begun.finish(run, pictures, loaded)
    return begun.store.stored()


def evaluate_together(
    configs: Sequence[EvaluateConfig], vlm: VLM | None = None
) -> list[pd.DataFrame]:
    """Answer by several methods, example by example, and compute only once what they have in common; return the rows of each.

    Rows equal those of `evaluate`, except that wall times are not recorded: they would say nothing
    about one method alone.

    Args:
        configs: of one VLM and benchmark.
        vlm: the model, if it is loaded already.

    Raises:
        InputError: as `evaluate`, and for configurations that differ in VLM or benchmark.
    """
    configs = [resolved(config) for config in configs]
    first = configs[0]
    if any(
        (config.vlm, config.benchmark, config.shard) != (first.vlm, first.benchmark, first.shard)
        for config in configs
    ):
        raise InputError(
            "Only methods may differ between configurations that are evaluated together: use one "
            "VLM and one benchmark."
        )
    loaded = load_benchmark(first.benchmark)
    for config in configs:
        check_evidence(loaded, config.method)
    begun = [_Begun.of(config) for config in configs]
    unknown: dict[str, Any] = dict.fromkeys(WALL_TIMES)
    pictures: dict[str, Image.Image] = {}
    with _threads(first.threads), ExitStack() as stack:
        for each in begun:
            stack.enter_context(each.store.locked())
        done = [each.done() for each in begun]
        model = CachedVLM(vlm or load_vlm(first.vlm))
        for each in begun:
            each.store.begin(environment_of(model))
        of_all = set.intersection(*done)
        alike = [_Alike() for _ in begun]
        label = f"{first.vlm.name} {first.benchmark.name} {len(configs)} methods"
        for number, example in tqdm(
            _examples(loaded, first, of_all),
            desc=label,
            total=first.benchmark.examples,
            initial=len(of_all),
        ):
            for each, known, failures in zip(begun, done, alike, strict=True):
                if example.id not in known:
                    row = each.answer(model, number, example, loaded.benchmark)
                    each.store.add(replace(row, **unknown), flush_every=first.flush_every)
                    failures.add(row)
            _remember(pictures, example)
            model.forget()
        for each in begun:
            with _tracked(each) as run:
                each.finish(run, pictures, loaded)
    return [each.store.stored() for each in begun]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads of the CPU for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Running:
    """The mean scores so far, in percent, and how many examples have none."""

    def __init__(self) -> None:
        self.plain = self.score = 0.0
        self.scored = self.rows = 0

    def add(self, row: Row) -> dict[str, float]:
        """Count a row, and return what to show."""
        self.rows += 1
        if row.status == "ok":
            self.scored += 1
            self.plain += row.plain_score or 0.0
            self.score += row.score or 0.0

        report = {
            name: round(100 * total / max(self.scored, 1), 1)
            for name, total in (("plain", self.plain), ("score", self.score))
        }
        return report if self.scored == self.rows else {**report, "failed": self.rows - self.scored}


class _Alike:
    """The failures in a row for the same reason; many of them are no fault of the examples."""

    def __init__(self) -> None:
        self.reason, self.count = "", 0

    def add(self, row: Row) -> None:
        """Count a row.

        Raises:
            InputError: at the tenth failure in a row for the same reason.
        """
        failed = row.status == "failed"
        self.count = (self.count + 1 if row.reason == self.reason else 1) if failed else 0
        self.reason = row.reason if failed else ""
        if self.count == STOP_AFTER:
            raise InputError(
                f"{STOP_AFTER} examples in a row failed for the same reason ({self.reason}): "
                "stopped. Their rows are kept; when the reason "
                "is mended, run the same command with retry_failed=true."
            )


@dataclass(frozen=True)
class _Begun:
    """An evaluation with its store, and the crops that controls copy, by id."""

    config: EvaluateConfig
    source: dict[str, Any]
    store: RowStore
    copied: dict[str, tuple[Box, ...]]

    @classmethod
    def of(cls, config: EvaluateConfig) -> "_Begun":
        source = run_manifest(config)
        return cls(
            config,
            source,
            RowStore(results_folder(config), source, config.shard),
            _crops_to_copy(config),
        )

    def done(self) -> set[str]:
        """Return the ids of the examples that need no answer any more."""
        return self.store.stored_ids(ok_only=self.config.retry_failed)

    def answer(
        self, vlm: VLM, number: int, example: Example | Unusable, benchmark: Benchmark
    ) -> Row:
        return evaluate_example(
            vlm,
            number,
            example,
            benchmark,
            self.config,
            self.source["config_hash"],
            self.copied.get(example.id),
        )

    def finish(self, run: Any, pictures: dict[str, Image.Image], loaded: LoadedBenchmark) -> None:
        """Record that the data was read to its end, join the rows, and log them with some pictures and the crops on them."""
        self.store.flush()
        self.store.finish(examples=self.config.benchmark.examples, rows=loaded.seen)
        if self.config.shard == "1/1":
            merge(self.store.folder)
        rows = self.store.stored()
        crops = dict(zip(rows["example_id"], rows["crops"], strict=True))
        drawn = {
            name: with_boxes(picture, [Box(*box) for box in crops[name]])
            for name, picture in pictures.items()
        }
        log_evaluation(run, rows, drawn, self.store.folder)


def _remember(pictures: dict[str, Image.Image], example: Example | Unusable) -> None:
    if len(pictures) < PICTURES and isinstance(example, Example):
        pictures[example.id] = example.image


def _tracked(begun: _Begun) -> AbstractContextManager[Any]:
    config, source = begun.config, begun.source
    tags = [source["commit"], short_identity(source)]
    folder = begun.store.folder / "tracking"
    return tracked_run(
        config.tracking,
        folder,
        job_type="evaluate",
        config=source["config"],
        name=evaluation_label(config),
        tags=tags,
    )


def _examples(
    loaded: LoadedBenchmark, config: EvaluateConfig, done: set[str]
) -> Iterator[tuple[int, Example | Unusable]]:
    """Yield the examples of this shard that have no row."""
    shard, shards = parse_shard(config.shard)
    several = (
        config.benchmark.protocol.option_order == "rotations"
    )  # then a row of the data set has several ids

    def wanted(number: int, identity: str) -> bool:
        return number % shards == shard - 1 and (several or identity not in done)

    for number, example in loaded.numbered(wanted):
        if example.id not in done:
            yield number, example


def evaluation_label(config: EvaluateConfig) -> str:
    """Return VLM, benchmark, method and shard in one line, for progress bars and logs."""
    shard = "" if config.shard == "1/1" else f" {config.shard}"
    return f"{config.vlm.name} {config.benchmark.name} {config.method_name}{shard}"


def _crops_to_copy(config: EvaluateConfig) -> dict[str, tuple[Box, ...]]:
    """Return, by example, the crops that stored rows of the paper's loop have under otherwise the same configuration, for controls."""
    if config.method.crops in ("found", "window", "search", "nested", "oracle"):
        return {}
    wanted = fingerprint(replace(config, method=replace(config.method, crops="found")))
    found: dict[str, tuple[Box, ...]] = {}
    for folder in sorted(results_folder(config).parent.glob("*")):
        rows = stored_rows(folder)
        for row in rows[
            (rows["config_hash"] == wanted) & (rows["status"] == "ok") & (rows["retried"] == "")
        ].itertuples():
            found[row.example_id] = tuple(Box(*box) for box in row.crops)
    return found
