"""What a map and a grounding cost: ``python -m entropy_grounding.benchmark_cost``. Ratios, the median of interleaved repeats of one run.

A LLaVA-shaped model with random weights (hidden 512, 12 layers, vocabulary 32,000, 576 visual tokens), on a CPU, float32, one thread;
where there is a GPU, models of the sizes of the paper's four checkpoints too, in bfloat16. Random weights say what a pass costs, not what
an answer is worth, so the answers of both orders of computation are compared on a tiny VLM.
"""

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from tqdm.auto import tqdm

from entropy_grounding.benchmarks.base import Example
from entropy_grounding.benchmarks.load import benchmark_config, load_benchmark
from entropy_grounding.benchmarks.miniature.questions import held_out_example
from entropy_grounding.benchmarks.miniature.scenes import canvas_of, draw_scene
from entropy_grounding.core.records import Grounding
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.profiling.random_vlm import MID_SIZE, SHAPES, random_vlm, shaped
from entropy_grounding.vlm.ledger import Ledger, peak_memory, synchronize
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.types import Prompt
from entropy_grounding.vlm.memory import estimate_memory

BENCHMARK_COST = "benchmark_cost.json"
EARLY_LAYER = 6  # of 12, for the gradient at an intermediate layer
LONGEST, MANY, MANY_SIZE = (
    "qwen2_5_vl_7b",
    16_000,
    (160 * 28, 100 * 28),
)  # visual tokens; a picture of so many, one for 28 x 28 pixels
ROUNDS = StoppingOptions(rule="fixed", rounds=3)
MODES: dict[str, dict[str, Any]] = {
    "off": {"reuse": "off"},
    "exact": {},
    "crops": {"reground": "crops"},
}
KINDS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm"),
    "attention": ("aten::_scaled_dot_product",),
}  # of operations
LIMITS = {
    "map": 2.2,
    "ledger / grounding of tiny_llava": 0.01,
    "map, checkpointing: memory": 1.5,
    "grounding, reuse=exact": 0.8,
    "grounding, reground=crops": 0.55,
}


def a_picture(size: tuple[int, int] = (672, 672)) -> tuple[Image.Image, str]:
    """Return a drawn scene of this width and height in pixels, and its question."""
    scene, question = held_out_example(0)
    return draw_scene(scene).resize(size), question.text


def passes(vlm: VLM, prompt: Prompt) -> dict[str, Callable[[], object]]:
    """Return what is timed on one prompt, by name; "plain" is what the others are compared with."""

    def plain() -> object:
        with torch.no_grad():
            return vlm.logits(prompt)

    def with_parameters() -> object:
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
    """Return the median, over interleaved repeats, of each one's time over that of the reference in the same repeat."""
    for run in timed.values():
        run()
        synchronize()
    ratios: dict[str, list[float]] = {name: [] for name in timed}
    for _ in tqdm(range(repeats), desc=f"{len(timed)} x {repeats} runs"):
        seconds = {}
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            synchronize()
            seconds[name] = time.perf_counter() - start
        for name, value in seconds.items():
            ratios[name].append(value / seconds[reference])
    return {name: statistics.median(found) for name, found in ratios.items()}


def by_operation(timed: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return, for a kind of operations, a map's time over a plain forward's, and its share of the plain forward; from one profile each."""
    spent = {name: operation_times(timed[name]) for name in ("plain", "map")}
    found = {
        f"plain, share of {kind}": took / sum(spent["plain"].values())
        for kind, took in spent["plain"].items()
    }
    return found | {
        f"map, {kind}": took / spent["plain"][kind] for kind, took in spent["map"].items()
    }


def operation_times(run: Callable[[], object]) -> dict[str, float]:
    """Return the microseconds of a CPU that a run spends in each of `KINDS`, and in all others."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    spent = dict.fromkeys((*KINDS, "the rest"), 0.0)
    for event in profiled.key_averages():
        kind = next(
            (kind for kind, names in KINDS.items() if event.key.startswith(names)), "the rest"
        )
        spent[kind] += event.self_cpu_time_total
    return spent


def grounding_ratios(vlm: VLM, repeats: int) -> dict[str, float]:
    """Return the time of a whole grounding, K = 2 and three rounds, by order of computation, over that of ``reuse=off``."""
    image, question = a_picture()

    def run(mode: str) -> Callable[[], Grounding]:
        return lambda: ground(
            vlm, image, question, GroundingOptions(stopping=ROUNDS, **MODES[mode]), max_new_tokens=4
        )

    found = interleaved({mode: run(mode) for mode in MODES}, repeats, "off")
    return {"grounding, reuse=exact": found["exact"], "grounding, reground=crops": found["crops"]}


def batch_ratio(vlm: VLM, prompt: Prompt, repeats: int) -> dict[str, float]:
    """Return the time of three maps in one batch over that of three maps one by one."""
    prompts = [prompt] * 3
    timed = {
        "batch": lambda: vlm.gradients(prompts, next_token_entropy),
        "singly": lambda: [vlm.gradient(p, next_token_entropy) for p in prompts],
    }
    return {"three maps, in one batch / one by one": interleaved(timed, repeats, "singly")["batch"]}


def memory_ratios() -> dict[str, float]:
    """Return the peak memory of passes over that of a plain forward, weights included; each pass has a process of its own."""
    context = multiprocessing.get_context("spawn")
    names = ("plain", "map", "map, checkpointing")
    with context.Pool(1, maxtasksperchild=1) as pool:
        peaks = dict(zip(names, pool.map(_peak_of, names, chunksize=1), strict=True))
    return {f"{name}: memory": peaks[name] / peaks["plain"] for name in names[1:]}


def _peak_of(name: str) -> float:
    """Return weights plus the most that this process grew by during a pass, in bytes."""
    torch.set_num_threads(1)
    vlm = random_vlm(MID_SIZE)
    image, question = a_picture()
    run = passes(vlm, vlm.prompt(question, [vlm.encode(image)]))[name]
    process, seen, ended = psutil.Process(), [], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not ended.wait(0.001):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    ended.set()
    watcher.join()
    weights = sum(
        parameter.numel() * parameter.element_size() for parameter in vlm.model.parameters()
    )
    return float(weights + max(seen) - before)


def compare_answers(vlm: VLM, examples: int) -> dict[str, float]:
    """Return, of a tiny VLM, how many answers of ``reuse=exact`` and ``off`` differ, and by how much maps do, relative to their peak."""
    config = benchmark_config(
        "mini_textvqa", examples=examples, canvas=canvas_of(vlm.model.config.model_type)
    )
    different, worst = 0, 0.0
    for example in tqdm(load_benchmark(config), total=examples, desc=f"answers of {vlm.name}"):
        assert isinstance(example, Example)
        options = GroundingOptions(stopping=ROUNDS)
        exact, off = (
            ground(vlm, example.image, example.prompt, replace(options, reuse=reuse))
            for reuse in ("exact", "off")
        )
        different += (exact.answer, exact.plain_answer, exact.crops) != (
            off.answer,
            off.plain_answer,
            off.crops,
        )
        for one, other in zip(exact.steps, off.steps, strict=True):
            for mine, theirs in zip(one.maps, other.maps, strict=True):
                worst = max(
                    worst,
                    float(np.abs(mine.values - theirs.values).max() / np.abs(theirs.values).max()),
                )
    return {
        "different answers of 300": different * 300 / examples,
        "largest difference of maps": worst,
    }


def big_memory(tokens: int = MANY) -> dict[str, float]:
    """Return the gigabytes that a map of so many visual tokens of Qwen2.5-VL 7B needs in bfloat16: computed, weights and graph together."""
    config, *_ = shaped(SHAPES[LONGEST])
    text = config.get_text_config()
    need = estimate_memory(config, torch.bfloat16)
    graph = need.map_per_1000_tokens * tokens / 1000
    inputs = torch.bfloat16.itemsize * text.hidden_size * text.num_hidden_layers * tokens / 1e9
    name = f"Qwen2.5-VL 7B, map of {tokens:,} tokens, GB"
    return {
        name: need.weights + graph,
        f"{name}, checkpointing": need.weights + inputs + graph / text.num_hidden_layers,
    }


def big_figures(name: str, vlm: VLM, repeats: int) -> dict[str, float]:
    """Return the ratios of maps and groundings of a model, and on a GPU those of the peak memory, weights included."""
    image, question = a_picture()
    prompt = vlm.prompt(question, [vlm.encode(image)])
    timed = {
        key: run
        for key, run in passes(vlm, prompt).items()
        if key in ("plain", "map", "map, checkpointing")
    }
    found = interleaved(timed, repeats, "plain") | grounding_ratios(vlm, repeats)
    if torch.cuda.is_available():
        peaks = {key: gpu_gigabytes(run) for key, run in timed.items()}
        found |= {f"{key}: memory": peaks[key] / peaks["plain"] for key in timed if key != "plain"}
    return {f"{name}: {key}": value for key, value in found.items() if key != "plain"}


def gpu_gigabytes(run: Callable[[], object]) -> float:
    """Return the peak of the GPU's allocated memory during a run, weights included; NaN where it was not enough."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        run()
    except torch.cuda.OutOfMemoryError:
        return float("nan")
    return torch.cuda.max_memory_allocated() / 1e9


def measured_memory(vlm: VLM) -> dict[str, float]:
    """Return `big_memory` as measured on a GPU."""
    image, question = a_picture(MANY_SIZE)
    prompt = vlm.prompt(question, [vlm.encode(image)])
    timed = passes(vlm, prompt)
    name = f"Qwen2.5-VL 7B, map of {prompt.visual_tokens:,} tokens, GB"
    return {
        f"{name}, measured": gpu_gigabytes(timed["map"]),
        f"{name}, checkpointing, measured": gpu_gigabytes(timed["map, checkpointing"]),
    }


def on_gpu(repeats: int) -> dict[str, float]:
    """Return the figures of all four families in bfloat16; none without a GPU."""
    found: dict[str, float] = {}
    for name, shape in SHAPES.items() if torch.cuda.is_available() else ():
        vlm = random_vlm(shape, device="cuda", dtype=torch.bfloat16)
        found |= big_figures(name, vlm, repeats)
        if name == LONGEST:
            found |= measured_memory(vlm)
        del vlm  # before the next one
        torch.cuda.empty_cache()
    return found


def ledger_share(vlm: VLM, repeats: int = 100) -> dict[str, float]:
    """Return the share of a grounding's time that its ledger takes: of every pass a count and two clocks, and one reading of the memory."""
    image, question = a_picture()
    start = time.perf_counter()
    spent = ground(vlm, image, question, GroundingOptions(stopping=ROUNDS)).cost
    whole = time.perf_counter() - start
    prompt, ledger = vlm.prompt(question, [vlm.encode(image)]), Ledger()
    start = time.perf_counter()
    for _ in range(repeats):
        for _ in range(spent.forwards + spent.backwards):
            ledger.forward(prompt)
            with ledger.timed("vision_seconds"), ledger.timed("map_seconds"):
                pass
        peak_memory()
    return {"ledger / grounding of tiny_llava": (time.perf_counter() - start) / repeats / whole}


def measure(repeats: int, examples: int) -> pd.DataFrame:
    """Return every figure with its limit, where it has one."""
    vlm, tiny = random_vlm(MID_SIZE), load_vlm("tiny_llava")
    image, question = a_picture()
    prompt = vlm.prompt(question, [vlm.encode(image)])
    found = interleaved(passes(vlm, prompt), repeats, "plain") | by_operation(passes(vlm, prompt))
    found |= batch_ratio(vlm, prompt, repeats) | grounding_ratios(vlm, repeats) | memory_ratios()
    found |= ledger_share(tiny) | compare_answers(tiny, examples) | big_memory() | on_gpu(repeats)
    table = pd.DataFrame({"figure": list(found), "value": list(found.values())})
    about = {
        "repeats": repeats,
        "examples": examples,
        "commit": commit(),
        "torch": torch.__version__,
    }
    return table.assign(limit=table["figure"].map(LIMITS), **about)
