"""One VLM, one benchmark, one method, one stored row an example; a run resumes where it stopped."""

import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm

from entropy_grounding.benchmarks import Benchmark, BenchmarkConfig, LoadedBenchmark, Unusable, load_benchmark
from entropy_grounding.benchmarks.identity import data_identities
from entropy_grounding.calibration import calibrated
from entropy_grounding.configs import CONF_DIR, build, register
from entropy_grounding.errors import InputError
from entropy_grounding.images import with_boxes
from entropy_grounding.ledger import peak_memory
from entropy_grounding.localization import chance, energy_in_box, overlap, pointing_game
from entropy_grounding.options import OF_THE_VLM, Given, GroundingOptions
from entropy_grounding.results import (
    WALL_TIMES,
    RowStore,
    config_hash,
    manifest,
    merge,
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
        for name in ("flush_every", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: use at least 1.")


register("evaluate_schema", EvaluateConfig)
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
        InputError: for data, weights, results or options that cannot be used; an example that fails is a row instead.
    """
    torch.set_num_threads(config.threads)
    config = resolved(config)
    loaded = load_benchmark(config.benchmark)
    begun = _Begun.of(config)
    with begun.store.locked():
        vlm = vlm or load_vlm(config.vlm)
        with _tracked(begun) as run:
            bar = tqdm(_examples(loaded, config, begun.done), desc=_label(config), total=config.benchmark.examples, initial=len(begun.done))
            rows: list[Row] = []
            pictures: dict[str, Image.Image] = {}
            for number, example in bar:
                rows.append(begun.answer(vlm, number, example, loaded.benchmark))
                begun.store.add(rows[-1], flush_every=config.flush_every)
                report = _running(rows)
                bar.set_postfix(report)
                run.log(report)
                _remember(pictures, example)
            begun.finish(run, pictures)
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
    torch.set_num_threads(first.threads)
    loaded = load_benchmark(first.benchmark)
    begun = [_Begun.of(config) for config in configs]
    done = set.intersection(*(each.done for each in begun))
    unknown: dict[str, Any] = dict.fromkeys(WALL_TIMES)
    pictures: dict[str, Image.Image] = {}
    with ExitStack() as stack:
        for each in begun:
            stack.enter_context(each.store.locked())
        model = RememberingVLM(vlm or load_vlm(first.vlm))
        label = f"{first.vlm.name} {first.benchmark.name} {len(configs)} methods"
        for number, example in tqdm(_examples(loaded, first, done), desc=label, total=first.benchmark.examples, initial=len(done)):
            for each in begun:
                if example.id not in each.done:
                    row = each.answer(model, number, example, loaded.benchmark)
                    each.store.add(replace(row, **unknown), flush_every=first.flush_every)
            _remember(pictures, example)
            model.forget()
        for each in begun:
            with _tracked(each) as run:
                each.finish(run, pictures)
    return [each.store.stored() for each in begun]


@dataclass(frozen=True)
class _Begun:
    """An evaluation with what is stored of it: the ids that are done, and the crops that controls copy, by id."""

    config: EvaluateConfig
    source: dict[str, Any]
    store: RowStore
    done: set[str]
    copied: dict[str, tuple[Box, ...]]

    @classmethod
    def of(cls, config: EvaluateConfig) -> "_Begun":
        source = run_manifest(config)
        store = RowStore(results_folder(config), source, config.shard)
        return cls(config, source, store, _done(store.stored(), retry_failed=config.retry_failed), _crops_to_copy(config))

    def answer(self, vlm: VLM, number: int, example: Example | Unusable, benchmark: Benchmark) -> Row:
        return evaluate_example(vlm, number, example, benchmark, self.config, self.source["config_hash"], self.copied.get(example.id))

    def finish(self, run: Any, pictures: dict[str, Image.Image]) -> None:
        """Join the rows, and log them with some pictures and the crops on them."""
        self.store.flush()
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
    """Fill in what depends on another section: the size of a miniature's pictures, the gate's threshold."""
    benchmark = config.benchmark
    if benchmark.path.startswith("miniature:") and benchmark.canvas is None:
        benchmark = replace(benchmark, canvas=canvas_for(config.vlm.weights))
    chosen = calibrated(config.method.gate, config.vlm.name, config.benchmark.name)
    return replace(config, benchmark=benchmark, method=replace(config.method, gate=chosen))


def run_manifest(config: EvaluateConfig) -> dict[str, Any]:
    """Return what is stored beside the rows: the config hash, configuration, data, weights, commit and versions."""
    found = {"config_hash": fingerprint(config), "method_name": config.method_name, **data_identities(config.benchmark)}
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


def _done(rows: pd.DataFrame, *, retry_failed: bool) -> set[str]:
    return set(rows["example_id"][(rows["status"] != "failed") | (not retry_failed)])


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


def _running(rows: list[Row]) -> dict[str, float]:
    """Return the mean scores so far, in percent, and how many examples have none."""
    scored = [row for row in rows if row.status == "ok"]
    report = {"plain": _percent([row.plain_score for row in scored]), "score": _percent([row.score for row in scored])}
    return report if len(scored) == len(rows) else {**report, "failed": len(rows) - len(scored)}


def _percent(scores: list[float | None]) -> float:
    return round(100 * float(np.mean([score or 0.0 for score in scores])), 1) if scores else 0.0


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
    start = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        grounding, retried = _answer_within_memory(vlm, example, benchmark, config, like)
    except Exception as error:  # whatever one example breaks, the others go on
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return replace(row, status="failed", reason=" ".join(reason.split())[:500], seconds=time.perf_counter() - start)
    seconds = time.perf_counter() - start
    return replace(
        row,
        **_found(grounding),
        **_localised(grounding, example.boxes),
        plain_score=benchmark.score(grounding.plain_answer, example),
        score=benchmark.score(grounding.answer, example),
        retried=retried,
        seconds=seconds,
        peak_memory=peak_memory(),
    )


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
    options = replace(config.method, max_new_tokens=protocol.max_new_tokens or benchmark.max_new_tokens)
    choices = example.options if protocol.answer_mode == "likelihood" else ()
    given = Given(example.boxes, None if like is None else tuple(like), tuple(ord(letter) for letter in example.id))
    return ground(vlm, example.image, example.prompt, options, choices=choices, given=given)


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


@hydra.main(config_path=str(CONF_DIR), config_name="evaluate", version_base="1.3")
def main(config: Any) -> None:
    """Evaluate, and print the score with its interval."""
    try:
        options = build(EvaluateConfig, config)
        rows = evaluate(options)
        print(score_line(rows))
        print(f"rows: {results_folder(options)}")
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: every finished example is stored; run the same command again to go on.")
