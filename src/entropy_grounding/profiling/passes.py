"""What a map and a grounding cost: ``eg profile passes``.

Every figure of time is a ratio: the median over interleaved repeats of one run.

The model is a LLaVA with random weights (hidden size 512, 12 layers, vocabulary 32,000, 576 visual
tokens). It runs on a CPU, in float32, with one thread; `released` measures models with the sizes of
the paper's four checkpoints. Random weights tell what a pass costs, but not how good an answer is.
The answers of both orders of computation are therefore compared on a tiny VLM.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm.auto import tqdm

from entropy_grounding.benchmarks.base import Example
from entropy_grounding.benchmarks.load import benchmark_config, load_benchmark
from entropy_grounding.benchmarks.miniature.scenes import canvas_of
from entropy_grounding.core.records import Grounding
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.profiling.random_vlm import MID_SIZE, SHAPES, random_vlm, shaped
from entropy_grounding.profiling.released import LONGEST, a_picture, ratio, seconds_of
from entropy_grounding.vlm.ledger import Ledger, peak_memory
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.memory import checkpointed_map_bytes, map_bytes, weights_bytes
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import Prompt

BENCHMARK_COST = "benchmark_cost.json"
EARLY_LAYER = 6  # of 12, for the gradient at an intermediate layer
MANY = 16_000  # visual tokens
SQUARE = (672, 672)  # width and height of the picture in pixels
ROUNDS = StoppingOptions(rule="fixed", rounds=3)
MODES: dict[str, dict[str, Any]] = {
    "off": {"reuse": "off"},
    "exact": {},
    "crops": {"reground": "crops"},
}
# Kinds of operations, and how the names of their kernels begin.
KINDS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm"),
    "attention": ("aten::_scaled_dot_product",),
}
# Largest values that a figure should have.
LIMITS = {
    "map": 2.2,
    "ledger / grounding of tiny_llava": 0.01,
    "map, checkpointing: memory": 1.5,
    "grounding, reuse=exact": 0.8,
    "grounding, reground=crops": 0.55,
}


def passes(vlm: VLM, prompt: Prompt) -> dict[str, Callable[[], object]]:
    """Return the functions that are timed on one prompt, by name.

    "plain" is the forward pass that the others are compared with.
    """

    def plain() -> object:
        with torch.no_grad():
            return vlm.logits(prompt)

    def with_parameters() -> object:
        # Outside `vlm.gradient` the parameters are not frozen.
        leaf = torch.cat(prompt.features).clone().requires_grad_()
        return torch.autograd.grad(next_token_entropy(vlm.logits(prompt, leaf)), leaf)

    def with_checkpoints() -> object:
        vlm.checkpointing = "on"
        try:
            return vlm.gradient(prompt, next_token_entropy)
        finally:
            vlm.checkpointing = "off"

    def compute(**options: Any) -> Callable[[], object]:
        return lambda: vlm.backward(vlm.run([prompt], **options), next_token_entropy)

    return {
        "plain": plain,
        "map": compute(),
        "map, keys and values kept": compute(keep=True),
        "map, logits of all positions": compute(every_position=True),
        "map, parameters not frozen": with_parameters,
        "map, checkpointing": with_checkpoints,
        f"map, gradient at layer {EARLY_LAYER}": lambda: vlm.backward(
            vlm.run_from_layer(prompt, EARLY_LAYER), next_token_entropy
        ),
    }


def interleaved(
    timed: Mapping[str, Callable[[], object]], repeats: int, reference: str
) -> dict[str, float]:
    """Return each function's time divided by that of the reference, by name.

    Every repeat runs all functions, and a ratio is taken within a repeat, so that a slow moment of
    the machine affects both times. The result is the median over the repeats.
    """
    seconds = seconds_of(timed, repeats)
    return {name: ratio(seconds, name, reference) for name in timed}


def by_operation(timed: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return two figures per kind of operations, from one profile of each pass.

    They are the kind's share of a plain forward, and a map's time on this kind divided by that of a
    plain forward.
    """
    plain = operation_times(timed["plain"])
    mapped = operation_times(timed["map"])
    whole = sum(plain.values())

    figures = {}
    for kind, spent in plain.items():
        figures[f"plain, share of {kind}"] = spent / whole
    for kind, spent in mapped.items():
        figures[f"map, {kind}"] = spent / plain[kind]
    return figures


def operation_times(run: Callable[[], object]) -> dict[str, float]:
    """Return the microseconds of a CPU that a run spends on each of `KINDS`, and on the rest."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()

    spent = dict.fromkeys((*KINDS, "the rest"), 0.0)
    for event in profiled.key_averages():
        kind = next(
            (kind for kind, names in KINDS.items() if event.key.startswith(names)), "the rest"
        )
        # Without the operations that this one calls, so that nothing is counted twice.
        spent[kind] += event.self_cpu_time_total
    return spent


def grounding_ratios(vlm: VLM, repeats: int) -> dict[str, float]:
    """Return the time of a whole grounding divided by that with ``reuse=off``.

    A grounding has K = 2 crops and three rounds. There is one figure per order of computation.
    """
    image, question = a_picture(SQUARE)

    def run(mode: str) -> Callable[[], Grounding]:
        return lambda: ground(
            vlm, image, question, GroundingOptions(stopping=ROUNDS, **MODES[mode]), max_new_tokens=4
        )

    ratios = interleaved({mode: run(mode) for mode in MODES}, repeats, "off")
    return {"grounding, reuse=exact": ratios["exact"], "grounding, reground=crops": ratios["crops"]}


def batch_ratio(vlm: VLM, prompt: Prompt, repeats: int) -> dict[str, float]:
    """Return the time of three maps in one batch divided by that of three maps one by one."""
    prompts = [prompt] * 3

    timed = {
        "batch": lambda: vlm.gradients(prompts, next_token_entropy),
        "singly": lambda: [vlm.gradient(p, next_token_entropy) for p in prompts],
    }
    ratios = interleaved(timed, repeats, "singly")

    return {"three maps, in one batch / one by one": ratios["batch"]}


def memory_ratios() -> dict[str, float]:
    """Return the peak memory of passes divided by that of a plain forward, weights included."""
    context = multiprocessing.get_context("spawn")
    names = ("plain", "map", "map, checkpointing")

    # Each pass has a process of its own, which starts without the memory of the one before.
    with context.Pool(1, maxtasksperchild=1) as pool:
        peaks = dict(zip(names, pool.map(_peak_of, names, chunksize=1), strict=True))

    return {f"{name}: memory": peaks[name] / peaks["plain"] for name in names[1:]}


def _peak_of(name: str) -> float:
    """Return the bytes of the weights plus the largest growth of this process during a pass."""
    torch.set_num_threads(1)
    vlm = random_vlm(MID_SIZE)
    image, question = a_picture(SQUARE)
    run = passes(vlm, vlm.prompt(question, [vlm.encode(image)]))[name]

    process = psutil.Process()
    samples: list[int] = []
    ended = threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        # A CPU allocator keeps no peak, so the process is asked every millisecond.
        while not ended.wait(0.001):
            samples.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    ended.set()
    watcher.join()

    weights = sum(
        parameter.numel() * parameter.element_size() for parameter in vlm.model.parameters()
    )
    return float(weights + max(samples) - before)


def compare_answers(vlm: VLM, examples: int) -> dict[str, float]:
    """Compare the answers and maps of ``reuse=exact`` with those of ``reuse=off`` on a tiny VLM.

    Returns:
        How many of 300 answers differ, and the largest difference of a map, relative to its peak.
    """
    config = benchmark_config(
        "mini_textvqa", examples=examples, canvas=canvas_of(vlm.model.config.model_type)
    )
    options = GroundingOptions(stopping=ROUNDS)

    different, worst = 0, 0.0
    for example in tqdm(load_benchmark(config), total=examples, desc=f"answers of {vlm.name}"):
        assert isinstance(example, Example)
        exact = ground(vlm, example.image, example.prompt, replace(options, reuse="exact"))
        off = ground(vlm, example.image, example.prompt, replace(options, reuse="off"))
        different += _answers(exact) != _answers(off)

        for exact_step, off_step in zip(exact.steps, off.steps, strict=True):
            for exact_map, off_map in zip(exact_step.maps, off_step.maps, strict=True):
                difference = np.abs(exact_map.values - off_map.values).max()
                worst = max(worst, float(difference / np.abs(off_map.values).max()))

    return {
        "different answers of 300": different * 300 / examples,
        "largest difference of maps": worst,
    }


def _answers(grounding: Grounding) -> tuple:
    return grounding.answer, grounding.plain_answer, grounding.crops


def big_memory(tokens: int = MANY) -> dict[str, float]:
    """Return the gigabytes that a map of so many visual tokens of Qwen2.5-VL 7B needs.

    The figures are computed, not measured: weights and graph together, in bfloat16.
    """
    config, *_ = shaped(SHAPES[LONGEST])
    half = torch.bfloat16
    weights = weights_bytes(config, half)

    name = f"Qwen2.5-VL 7B, map of {tokens:,} tokens, GB"
    return {
        name: (weights + map_bytes(config, half, tokens)) / 1e9,
        f"{name}, checkpointing": (weights + checkpointed_map_bytes(config, half, tokens)) / 1e9,
    }


def ledger_share(vlm: VLM, repeats: int = 100) -> dict[str, float]:
    """Return the share of a grounding's time that its ledger needs.

    The ledger counts every pass and reads two clocks for it. It reads the memory once per
    grounding.
    """
    image, question = a_picture(SQUARE)
    start = time.perf_counter()
    cost = ground(vlm, image, question, GroundingOptions(stopping=ROUNDS)).cost
    whole = time.perf_counter() - start

    prompt = vlm.prompt(question, [vlm.encode(image)])
    ledger = Ledger()

    # The same entries again, without the passes.
    start = time.perf_counter()
    for _ in range(repeats):
        for _ in range(cost.forwards + cost.backwards):
            ledger.forward(prompt)
            with ledger.timed("vision_seconds"), ledger.timed("map_seconds"):
                pass
        peak_memory()

    return {"ledger / grounding of tiny_llava": (time.perf_counter() - start) / repeats / whole}


def measure(repeats: int, examples: int) -> pd.DataFrame:
    """Return a table with one row per figure: its name, its value, and its limit if it has one."""
    vlm, tiny = random_vlm(MID_SIZE), load_vlm("tiny_llava")
    image, question = a_picture(SQUARE)
    prompt = vlm.prompt(question, [vlm.encode(image)])

    # Time and memory of one model, then answers of a tiny VLM.
    figures = interleaved(passes(vlm, prompt), repeats, "plain")
    figures |= by_operation(passes(vlm, prompt))
    figures |= batch_ratio(vlm, prompt, repeats) | grounding_ratios(vlm, repeats) | memory_ratios()
    figures |= ledger_share(tiny) | compare_answers(tiny, examples)
    figures |= big_memory()

    table = pd.DataFrame({"figure": list(figures), "value": list(figures.values())})
    about = {
        "repeats": repeats,
        "examples": examples,
        "commit": commit(),
        "torch": torch.__version__,
    }

    return table.assign(limit=table["figure"].map(LIMITS), **about)
