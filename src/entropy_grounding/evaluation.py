"""One VLM, one benchmark, one method, one stored row an example; a run resumes where it stopped."""

import gc
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm

from entropy_grounding.benchmarks import (
    Benchmark,
    BenchmarkConfig,
    LoadedBenchmark,
    Unusable,
    check_evidence,
    load_benchmark,
    with_reachable_boxes,
)
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.calibration import calibrated
from entropy_grounding.commands import hydra_command
from entropy_grounding.configs import register
from entropy_grounding.environment import environment_of
from entropy_grounding.errors import InputError
from entropy_grounding.images import with_boxes
from entropy_grounding.ledger import peak_memory
from entropy_grounding.localization import chance, energy_in_box, overlap, pointing_game
from entropy_grounding.options import OF_THE_VLM, Given, GroundingOptions
from entropy_grounding.results import (
    WALL_TIMES,
    RowStore,
    check_name,
    config_hash,
    manifest,
    merge,
    missing_text,
    parse_shard,
    stored_rows,
)
from entropy_grounding.structures import Box, Example, Grounding, Row
from entropy_grounding.tables import score_line
from entropy_grounding.tiny.build import canvas_for
from entropy_grounding.tracking import PICTURES, TrackingConfig, log_evaluation, tracked_run
from entropy_grounding.verbatim import Place
from entropy_grounding.vlm import VLM, VLMConfig, load_vlm
from entropy_grounding.vlm.base import pixels_scaled
from entropy_grounding.vlm.identity import short_identity, weights_identities
from entropy_grounding.vlm.remembering import RememberingVLM
from entropy_grounding.zoom import ground


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of an evaluation.

    Attributes:
        vlm: which model, from ``conf/vlm``.
        benchmark: which data and protocol, from ``conf/benchmark``.
        method: which preset, from ``conf/method``.
        tracking: Weights & Biases.
        method_name: for labels and folders.
        results_dir: folder of the rows; each VLM, benchmark and method has its own.
        shard: "i/n": every n-th row of the data set, from the i-th on; shards run side by side and are joined by one command.
        flush_every: rows in a part file; that many may have to be done again after a power cut.
        retry_failed: do examples again whose stored row has failed.
        threads: of torch on a CPU.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    method_name: str = "entropy_gradient"
    results_dir: Place = "outputs/evaluate"
    shard: str = "1/1"
    flush_every: int = 16
    retry_failed: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse impossible options before anything is loaded."""
        parse_shard(self.shard)
        for option, name in (("vlm.name", self.vlm.name), ("benchmark.name", self.benchmark.name), ("method_name", self.method_name)):
            check_name(option, name)
        for name in ("flush_every", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: use at least 1.")


register("evaluate_schema", EvaluateConfig)
STOP_AFTER = 10  # failures in a row for the same reason
# Options at these values do not count in the config hash.
DEFAULTS = {"vlm": asdict(VLMConfig()), "benchmark": asdict(BenchmarkConfig()), "method": asdict(GroundingOptions())}


def evaluate(config: EvaluateConfig, vlm: VLM | None = None) -> pd.DataFrame:
    """Answer every example that has no row yet, and return the rows of all.

    Args:
        config: what to evaluate.
        vlm: the model, if it is loaded already; by default it is loaded from ``config.vlm``, after the data has been checked.

    Returns:
        The rows on disk (columns of `structures.Row`), also those of other shards.

    Raises:
        InputError: for data, weights, results or options that cannot be used, and where every example fails alike; an example that fails
            is a row instead.
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
            bar = tqdm(_examples(loaded, config, done), desc=_label(config), total=config.benchmark.examples, initial=len(done))
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


def evaluate_together(configs: Sequence[EvaluateConfig], vlm: VLM | None = None) -> list[pd.DataFrame]:
    """Answer by several methods, example by example, and compute only once what they have in common; return the rows of each.

    Rows equal those of `evaluate`, except that wall times are not recorded: they would say nothing about one method alone.

    Args:
        configs: of one VLM and benchmark.
        vlm: the model, if it is loaded already.

    Raises:
        InputError: as `evaluate`, and for configurations that differ in VLM or benchmark.
    """
    configs = [resolved(config) for config in configs]
    first = configs[0]
    if any((config.vlm, config.benchmark, config.shard) != (first.vlm, first.benchmark, first.shard) for config in configs):
        raise InputError("Only methods may differ between configurations that are evaluated together: use one VLM and one benchmark.")
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
        model = RememberingVLM(vlm or load_vlm(first.vlm))
        for each in begun:
            each.store.begin(environment_of(model))
        of_all = set.intersection(*done)
        alike = [_Alike() for _ in begun]
        label = f"{first.vlm.name} {first.benchmark.name} {len(configs)} methods"
        for number, example in tqdm(_examples(loaded, first, of_all), desc=label, total=first.benchmark.examples, initial=len(of_all)):
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

        report = {name: round(100 * total / max(self.scored, 1), 1) for name, total in (("plain", self.plain), ("score", self.score))}
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
                f"{STOP_AFTER} examples in a row failed for the same reason ({self.reason}): stopped. Their rows are kept; when the reason "
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
        return cls(config, source, RowStore(results_folder(config), source, config.shard), _crops_to_copy(config))

    def done(self) -> set[str]:
        """Return the ids of the examples that need no answer any more."""
        return self.store.stored_ids(ok_only=self.config.retry_failed)

    def answer(self, vlm: VLM, number: int, example: Example | Unusable, benchmark: Benchmark) -> Row:
        return evaluate_example(vlm, number, example, benchmark, self.config, self.source["config_hash"], self.copied.get(example.id))

    def finish(self, run: Any, pictures: dict[str, Image.Image], loaded: LoadedBenchmark) -> None:
        """Record that the data was read to its end, join the rows, and log them with some pictures and the crops on them."""
        self.store.flush()
        self.store.finish(examples=self.config.benchmark.examples, rows=loaded.seen)
        if self.config.shard == "1/1":
            merge(self.store.folder)
        rows = self.store.stored()
        crops = dict(zip(rows["example_id"], rows["crops"], strict=True))
        drawn = {name: with_boxes(picture, [Box(*box) for box in crops[name]]) for name, picture in pictures.items()}
        log_evaluation(run, rows, drawn, self.store.folder)


def _remember(pictures: dict[str, Image.Image], example: Example | Unusable) -> None:
    if len(pictures) < PICTURES and isinstance(example, Example):
        pictures[example.id] = example.image


def _tracked(begun: _Begun) -> AbstractContextManager[Any]:
    config, source = begun.config, begun.source
    tags = [source["commit"], short_identity(source)]
    folder = begun.store.folder / "tracking"
    return tracked_run(config.tracking, folder, job_type="evaluate", config=source["config"], name=_label(config), tags=tags)


def results_folder(config: EvaluateConfig) -> Path:
    """Return the folder of the rows of this VLM, benchmark and method."""
    return Path(config.results_dir) / config.vlm.name / config.benchmark.name / config.method_name


def resolved(config: EvaluateConfig) -> EvaluateConfig:
    """Fill in what depends on another section: the size of a miniature's pictures, boxes of local data, the gate's threshold."""
    benchmark = with_reachable_boxes(config.benchmark)
    if benchmark.path.startswith("miniature:") and benchmark.canvas is None:
        benchmark = replace(benchmark, canvas=canvas_for(config.vlm.weights))
    chosen = calibrated(config.method.gate, config.vlm.name, config.benchmark.name)
    return replace(config, benchmark=benchmark, method=replace(config.method, gate=chosen))


def run_manifest(config: EvaluateConfig) -> dict[str, Any]:
    """Return what is stored beside the rows: the config hash, configuration, data, weights, commit and versions."""
    identities = weights_identities(config.vlm.weights, config.vlm.revision) | data_identities(config.benchmark)
    found = {"config_hash": fingerprint(config), "method_name": config.method_name, **identities}
    return {**found, **manifest(_sections(config))}


def fingerprint(config: EvaluateConfig) -> str:
    """Return the config hash: what may change a row of this evaluation."""
    sections = _sections(config)
    counted = {**sections, "vlm": _that_count(sections)}
    known = weights_identities(config.vlm.weights, config.vlm.revision) | data_identities(config.benchmark)
    return config_hash(counted, DEFAULTS, **known)


def _sections(config: EvaluateConfig) -> dict[str, Any]:
    return {name: asdict(getattr(config, name)) for name in ("vlm", "benchmark", "method")}


def _that_count(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the options of the VLM without those that the method does not ask for."""
    method = sections["method"]
    unused = {"attention_layer": method["layers"] != "chosen", "neutral_question": method["neutral_question"] != OF_THE_VLM}
    return {name: value for name, value in sections["vlm"].items() if not unused.get(name)}


def _examples(loaded: LoadedBenchmark, config: EvaluateConfig, done: set[str]) -> Iterator[tuple[int, Example | Unusable]]:
    """Yield the examples of this shard that have no row."""
    shard, shards = parse_shard(config.shard)
    several = config.benchmark.protocol.option_order == "rotations"  # then a row of the data set has several ids

    def wanted(number: int, identity: str) -> bool:
        return number % shards == shard - 1 and (several or identity not in done)

    for number, example in loaded.numbered(wanted):
        if example.id not in done:
            yield number, example


def _label(config: EvaluateConfig) -> str:
    shard = "" if config.shard == "1/1" else f" {config.shard}"
    return f"{config.vlm.name} {config.benchmark.name} {config.method_name}{shard}"


def evaluate_example(
    vlm: VLM,
    number: int,
    example: Example | Unusable,
    benchmark: Benchmark,
    config: EvaluateConfig,
    fingerprint: str,
    like: Sequence[Box] | None = None,
) -> Row:
    """Return the row of one example; an error on it, or too little memory, becomes a row with status and reason.

    Args:
        vlm: the model.
        number: of the row of the data set.
        example: what to answer.
        benchmark: prompts and scores it.
        config: protocol and method.
        fingerprint: the config hash.
        like: crops whose number and sizes a control copies; None lets it find them.
    """
    protocol = {**asdict(config.benchmark.protocol), "max_pixels": config.vlm.max_pixels, "max_tiles": config.vlm.max_tiles}
    row = Row(number, example.id, fingerprint, config.vlm.name, config.benchmark.name, config.method_name, json.dumps(protocol))
    if isinstance(example, Unusable):
        return replace(row, status="unusable", reason=example.reason)
    row = replace(
        row,
        group=example.group,
        question=example.question,
        prompt=example.prompt,
        references=example.references,
        evidence=tuple(box.xyxy() for box in example.boxes),
    )
    if config.method.crops.startswith("oracle") and not example.boxes:
        return replace(row, status="unusable", reason="no evidence box: an oracle has nothing to show")

    start = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        answered = _answered(vlm, example, benchmark, config, like)
    except Exception as error:  # whatever one example breaks, the others go on; this is the one place where that is decided
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return replace(row, status="failed", reason=" ".join(reason.split())[:500], seconds=time.perf_counter() - start)

    return replace(row, **answered, seconds=time.perf_counter() - start, peak_memory=peak_memory())


def _answered(vlm: VLM, example: Example, benchmark: Benchmark, config: EvaluateConfig, like: Sequence[Box] | None) -> dict[str, Any]:
    """Return the columns of an example's answer: what was found, where, and how it scores."""
    grounding, retried = _answer_within_memory(vlm, example, benchmark, config, like)

    return {
        **_found(grounding),
        **_localised(grounding, example.boxes),
        "plain_score": benchmark.score(grounding.plain_answer, example),
        "score": benchmark.score(grounding.answer, example),
        "retried": retried,
    }


def _found(grounding: Grounding) -> dict[str, Any]:
    """Return the columns that a grounding fills."""
    return {
        "plain_answer": grounding.plain_answer,
        "answer": grounding.answer,
        "crops": tuple(box.xyxy() for box in grounding.crops),
        "round_crops": json.dumps([[region.box.xyxy() for region in step.regions] for step in grounding.steps]),
        "rounds": len(grounding.steps),
        "entropies": tuple(step.entropy for step in grounding.steps),
        "spatial_entropies": tuple(step.spatial_entropy for step in grounding.steps),
        "stop_reason": grounding.stop_reason,
        **{
            f"{name}_{measure}": getattr(found, measure)
            for name, found in (("plain", grounding.before), ("answer", grounding.after))
            for measure in ("entropy", "margin")
            if found is not None
        },
        **asdict(grounding.cost),
    }


def _localised(grounding: Grounding, evidence: Sequence[Box]) -> dict[str, Any]:
    """Return the columns that say where the method looked; None where that is undefined."""
    if not evidence:
        return {}
    columns = {"iou": overlap(grounding.crops, evidence).iou}
    if grounding.steps:
        first = grounding.steps[0].maps[0]
        rows, cols = first.view.shape
        half = max(first.view.box.width / cols, first.view.box.height / rows) / 2
        columns |= {"pointing": pointing_game(first, evidence, tolerance=half)}
        columns |= {"energy": energy_in_box(first, evidence), "chance": chance(first, evidence)}
    return {name: None if np.isnan(value) else value for name, value in columns.items()}


def _answer_within_memory(
    vlm: VLM, example: Example, benchmark: Benchmark, config: EvaluateConfig, like: Sequence[Box] | None
) -> tuple[Grounding, str]:
    """Answer; out of memory, once more with one crop, then also with half the pixels. Return what was given up, too."""
    fewer = replace(config.method, regions=replace(config.method.regions, max_regions=1))
    for retried, method in (("", config.method), ("fewer crops", fewer), ("fewer crops, fewer pixels", fewer)):
        with ExitStack() as stack:
            if "pixels" in retried and not stack.enter_context(pixels_scaled(vlm, 0.5)):
                break
            try:
                return _answer(vlm, example, benchmark, replace(config, method=method), like), retried
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
        gc.collect()
        torch.cuda.empty_cache()
    raise InputError("Out of memory, with fewer crops and fewer pixels too: use a smaller vlm.max_pixels or vlm.max_tiles, or more memory.")


def _out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory ran out; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "not enough memory" in str(error)


def _answer(vlm: VLM, example: Example, benchmark: Benchmark, config: EvaluateConfig, like: Sequence[Box] | None) -> Grounding:
    """Answer one example by the method; controls know its evidence, and the crops ``like`` which theirs are."""
    protocol = config.benchmark.protocol
    longest = protocol.max_new_tokens or benchmark.max_new_tokens
    choices = example.options if protocol.answer_mode == "likelihood" else ()
    given = Given(example.boxes, None if like is None else tuple(like), tuple(ord(letter) for letter in example.id))
    return ground(vlm, example.image, example.prompt, config.method, max_new_tokens=longest, choices=choices, given=given)


def _crops_to_copy(config: EvaluateConfig) -> dict[str, tuple[Box, ...]]:
    """Return, by example, the crops that stored rows of the paper's loop have under otherwise the same configuration, for controls."""
    if config.method.crops in ("found", "window", "search", "nested", "oracle"):
        return {}
    wanted = fingerprint(replace(config, method=replace(config.method, crops="found")))
    found: dict[str, tuple[Box, ...]] = {}
    for folder in sorted(results_folder(config).parent.glob("*")):
        rows = stored_rows(folder)
        for row in rows[(rows["config_hash"] == wanted) & (rows["status"] == "ok") & (rows["retried"] == "")].itertuples():
            found[row.example_id] = tuple(Box(*box) for box in row.crops)
    return found


@hydra_command("evaluate", EvaluateConfig)
def main(config: EvaluateConfig) -> None:
    """Evaluate, and print the score with its interval.

    Raises:
        InputError: for what cannot be evaluated, and where no example has a score; in a multirun the other evaluations go on.
    """
    rows = evaluate(config)
    folder = results_folder(config)
    print(score_line(rows), flush=True)
    print(f"rows: {folder}", flush=True)
    if missing := missing_text(folder):
        print(missing, flush=True)
    if len(rows) and not (rows["status"] == "ok").any():
        raise InputError(f"None of the {len(rows)} examples of {_label(config)} has a score; the first: {rows['reason'].iloc[0]}")
