"""What a grounding costs on models with the sizes of the released checkpoints.

It is a part of ``eg profile passes``.

The models have random weights, in bfloat16 on a GPU. Where there is no GPU, their twins run on the
CPU: the same token geometry with few and narrow layers. Ratios of a twin say that everything runs,
not what it costs. Times of a GPU are medians of interleaved repeats of one run.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from PIL import Image
from tqdm.auto import tqdm

from entropy_grounding.benchmarks.miniature.questions import held_out_example
from entropy_grounding.benchmarks.miniature.scenes import draw_scene
from entropy_grounding.evaluation.archive import read_summary, write_summary
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.experiments.estimate import PEAK, PLAIN, WHOLE
from entropy_grounding.grounding import ground
from entropy_grounding.method.gate import GateOptions
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.method.zoom import zoom
from entropy_grounding.profiling.random_vlm import SHAPES, Shape, random_vlm, twin
from entropy_grounding.vlm.contexts import frozen
from entropy_grounding.vlm.ledger import synchronize
from entropy_grounding.vlm.memory import map_bytes
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.session import ImageSession
from entropy_grounding.vlm.types import Answer, Prompt

GPU_CHECKS = "gpu_checks.json"  # what tests/gpu found, one row per figure
TWIN = "twin on a CPU"
NOT_RUN = "not run"
ROUNDS = 3
ANSWER_TOKENS = 16
BATCH = 8
PICTURE = (640, 480)  # width and height in pixels
LONGEST = "qwen2_5_vl_7b"  # the model with the longest prompts
MANY_SIZE = (160 * 28, 100 * 28)  # 16,000 tokens of 28 x 28 pixels
TWIN_MANY_SIZE = (20 * 28, 10 * 28)
# Share of the questions that method=gated ends after no, one, two, and three or more rounds: the
# seven miniatures of the four tiny VLMs (results/rows/gate); a test compares.
GATED_ROUNDS = (0.32, 0.48, 0.18, 0.02)

GROUNDING = f"grounding of {ROUNDS} rounds / plain answer"
GATED = "gated mix / plain answer"
# Largest values that a figure should have on a GPU, by VLM.
GPU_LIMITS = {("llava_1_5_7b", GROUNDING): 1.9, ("llava_1_5_7b", GATED): 1.4}

_Runs = Mapping[str, Callable[[], object]]


# --- What is timed ---


def a_picture(size: tuple[int, int] = PICTURE) -> tuple[Image.Image, str]:
    """Return a drawn scene of this width and height in pixels, and its question."""
    scene, question = held_out_example(0)
    return draw_scene(scene).resize(size), question.text


def answered(vlm: VLM, rounds: int, gate: GateOptions | None = None) -> Answer:
    """Answer a question about `a_picture` after so many rounds, each with K = 2 crops.

    Unlike `ground` this gives no plain answer beside it. Without rounds it is the plain answer.
    """
    image, question = a_picture()
    rule = StoppingOptions(rule="fixed", rounds=max(rounds, 1), max_rounds=rounds)
    options = GroundingOptions(stopping=rule, gate=gate or GateOptions())

    session = ImageSession(vlm, image, max_new_tokens=ANSWER_TOKENS)
    with frozen(vlm.model):
        _, crops, _ = zoom(session, question, options)
        return session.answer(question, crops)[0]


def answers(vlm: VLM) -> dict[str, Callable[[], object]]:
    """Return the ways to answer one question that are timed, by name."""
    image, question = a_picture()
    whole = GroundingOptions(stopping=StoppingOptions(rule="fixed", rounds=ROUNDS))
    stands = GateOptions(score="entropy", threshold=float("inf"))

    timed: dict[str, Callable[[], object]] = {
        "plain": lambda: answered(vlm, 0),
        "with plain": lambda: ground(vlm, image, question, whole, max_new_tokens=ANSWER_TOKENS),
        "rounds 0": lambda: answered(vlm, 1, stands),
    }
    for rounds in range(1, ROUNDS + 1):
        timed[f"rounds {rounds}"] = partial(answered, vlm, rounds)
    return timed


def single_passes(vlm: VLM, prompt: Prompt) -> dict[str, Callable[[], object]]:
    """Return the passes of one prompt, and of a batch of it, that are timed, by name."""

    def plain(prompts: Sequence[Prompt]) -> Callable[[], object]:
        return lambda: vlm.run(prompts, graph=False)

    def mapped(checkpointing: str) -> Callable[[], object]:
        def run() -> object:
            with checkpoints(vlm, checkpointing):
                return vlm.gradient(prompt, next_token_entropy)

        return run

    return {
        "plain": plain([prompt]),
        "map": mapped("off"),
        "map, checkpointing": mapped("on"),
        "batch": plain([prompt] * BATCH),
    }


@contextmanager
def checkpoints(vlm: VLM, when: str) -> Iterator[None]:
    """Let a VLM checkpoint "on" or "off" for a block."""
    before, vlm.checkpointing = vlm.checkpointing, when
    try:
        yield
    finally:
        vlm.checkpointing = before


# --- Measuring ---


def seconds_of(timed: _Runs, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of every run, one value per repeat, by name.

    Every repeat runs all functions, so that a slow moment of the machine affects all of them.
    """
    # The first run of each is not timed, because it also fills caches.
    for run in timed.values():
        run()
        synchronize()

    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in tqdm(range(repeats), desc=f"{len(timed)} x {repeats} runs"):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            synchronize()
            seconds[name].append(time.perf_counter() - start)

    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], name: str, reference: str) -> float:
    """Return the median over the repeats of one run's time divided by the reference's."""
    pairs = zip(seconds[name], seconds[reference], strict=True)
    return statistics.median(one / other for one, other in pairs)


def gpu_gigabytes(run: Callable[[], object]) -> float:
    """Return the peak of the GPU's allocated memory during a run, in gigabytes.

    Weights are included. The result is NaN if the memory was not enough, and without a GPU.
    """
    if not torch.cuda.is_available():
        return float("nan")

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        run()
        synchronize()
    except torch.cuda.OutOfMemoryError:
        return float("nan")

    return torch.cuda.max_memory_allocated() / 1e9


def weight_gigabytes(vlm: VLM) -> float:
    """Return the gigabytes of a model's weights."""
    sizes = (weight.numel() * weight.element_size() for weight in vlm.model.parameters())
    return sum(sizes) / 1e9


# --- Figures of one model ---


def pass_figures(vlm: VLM, repeats: int) -> dict[str, float]:
    """Return sizes, times and peaks of single passes of the full image, by name."""
    image, question = a_picture()
    prompt = vlm.prompt(question, [vlm.encode(image)])
    timed = single_passes(vlm, prompt)

    # Memory first: a kernel that is loaded for the first time takes time, not memory.
    weights = weight_gigabytes(vlm)
    peaks = {name: gpu_gigabytes(timed[name]) for name in ("map", "map, checkpointing")}
    seconds = seconds_of(timed, repeats)

    per_position = (peaks["map"] - weights) * 1e6 / prompt.length
    estimated = map_bytes(vlm.model.config, vlm.model.dtype, prompt.length) / prompt.length / 1e3
    return {
        "visual tokens": prompt.visual_tokens,
        "positions": prompt.length,
        "plain forward, s": statistics.median(seconds["plain"]),
        "map, s": statistics.median(seconds["map"]),
        "map / plain forward": ratio(seconds, "map", "plain"),
        "map, checkpointing / plain forward": ratio(seconds, "map, checkpointing", "plain"),
        f"batch of {BATCH} / {BATCH} plain forwards": ratio(seconds, "batch", "plain") / BATCH,
        "weights, GB": weights,
        "peak of a map, GB": peaks["map"],
        "peak of a map, checkpointing, GB": peaks["map, checkpointing"],
        "map, kB per position": per_position,
        "map, kB per position, estimated": estimated,
    }


def answer_figures(vlm: VLM, repeats: int) -> dict[str, float]:
    """Return times and peaks of whole answers (K = 2 crops, up to three rounds), by name.

    A grounding that does not fit into the memory is timed with checkpointing.
    """
    timed = answers(vlm)
    last = timed[f"rounds {ROUNDS}"]
    whole = gpu_gigabytes(last)
    with checkpoints(vlm, "on"):
        saving = gpu_gigabytes(last)

    too_large = torch.cuda.is_available() and whole != whole
    with checkpoints(vlm, "on" if too_large else "off"):
        seconds = seconds_of(timed, repeats)

    by_rounds = [ratio(seconds, f"rounds {rounds}", "plain") for rounds in range(ROUNDS + 1)]
    mix = sum(share * cost for share, cost in zip(GATED_ROUNDS, by_rounds, strict=True))
    return {
        PLAIN: statistics.median(seconds["plain"]),
        "grounding, s": statistics.median(seconds[f"rounds {ROUNDS}"]),
        "grounding of 1 round / plain answer": by_rounds[1],
        GROUNDING: by_rounds[ROUNDS],
        WHOLE: ratio(seconds, "with plain", "plain"),
        GATED: mix,
        "peak of a grounding, GB": whole,
        PEAK: saving,
        "grounding timed with checkpointing": float(too_large),
    }


def many_figures(vlm: VLM, size: tuple[int, int]) -> dict[str, float]:
    """Return time and peaks of one map of a very large picture, by name."""
    image, question = a_picture(size)
    prompt = vlm.prompt(question, [vlm.encode(image)])
    timed = single_passes(vlm, prompt)

    saving = gpu_gigabytes(timed["map, checkpointing"])
    start = time.perf_counter()
    timed["map, checkpointing"]()
    synchronize()
    return {
        "many: visual tokens": prompt.visual_tokens,
        "many: map, checkpointing, s": time.perf_counter() - start,
        "many: peak of a map, checkpointing, GB": saving,
        "many: peak of a map, GB": gpu_gigabytes(timed["map"]),
    }


def figures_of(name: str, shape: Shape, repeats: int) -> Iterator[dict[str, float]]:
    """Yield the figures of a model, on the GPU or those of its twin on the CPU, part by part."""
    on_gpu = torch.cuda.is_available()
    vlm = random_vlm(shape, device="cuda", dtype=torch.bfloat16) if on_gpu else random_vlm(shape)
    vlm.name = name

    yield pass_figures(vlm, repeats)
    yield answer_figures(vlm, repeats)
    if name == LONGEST:
        yield many_figures(vlm, MANY_SIZE if on_gpu else TWIN_MANY_SIZE)


# --- The table ---


def measure_released(path: Path, names: Sequence[str], repeats: int) -> pd.DataFrame:
    """Measure models of these shapes, and return all rows of the file, old and new.

    The file is written after every part, so that an end half-way loses only the part at hand. Rows
    of other models and of other devices stay.

    Args:
        path: the file of figures.
        names: keys of `SHAPES`.
        repeats: interleaved repeats.
    """
    about = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else TWIN,
        "repeats": repeats,
        "commit": commit(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    stored = read_summary(path)
    if len(stored):
        stored = stored[~(stored["vlm"].isin(names) & (stored["device"] == about["device"]))]

    rows: list[dict[str, Any]] = []
    table = stored
    for name in names:
        shape = SHAPES[name] if torch.cuda.is_available() else twin(SHAPES[name])
        for part in figures_of(name, shape, repeats):
            for figure, value in part.items():
                rows.append({"vlm": name, "figure": figure, "value": value, **about})

            table = pd.concat([stored, pd.DataFrame(rows)], ignore_index=True)
            write_summary(path, table)

        # Two models at a time may not fit.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    return table


def released_table(rows: pd.DataFrame) -> str:
    """Return the Markdown table of `measure_released`: figures by VLM, on GPUs and on the twins.

    Cells that no GPU has measured say "not run"; a value above its limit is bold.
    """
    devices = [device for device in rows["device"].unique() if device != TWIN]
    cells = {
        (row.vlm, row.figure, row.device): _cell(row.value, row.vlm, row.figure, row.device)
        for row in rows.itertuples()
    }

    lines = []
    for device in [*(devices or ["a GPU"]), *([TWIN] if TWIN in set(rows["device"]) else [])]:
        for figure in rows["figure"].unique():
            if device == TWIN and figure.endswith((", GB", "per position")):
                continue  # no CPU counts its peak
            line = {"device": device, "figure": figure}
            for name in SHAPES:
                missing = name != LONGEST and figure.startswith("many")
                line[f"`{name}`"] = cells.get(
                    (name, figure, device), "" if missing or device == TWIN else NOT_RUN
                )
            lines.append(line)
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)


def _cell(value: float | None, vlm: str, figure: str, device: str) -> str:
    """Return a value as text, bold above its limit."""
    if value is None or pd.isna(value):
        return "out of memory"

    if figure.endswith("with checkpointing"):
        return "yes" if value else "no"

    text = f"{value:,.0f}" if value >= 1000 or figure.endswith("tokens") else f"{value:.3g}"
    limit = GPU_LIMITS.get((vlm, figure))
    return f"**{text}**" if device != TWIN and limit is not None and value > limit else text
