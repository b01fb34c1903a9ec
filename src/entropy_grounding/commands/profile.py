"""`eg profile`: measure passes, memory, rows of an evaluation, and where attention layers look."""

from argparse import Namespace
from pathlib import Path

import torch

from entropy_grounding.commands.catalogue import MID, RELEASED
from entropy_grounding.commands.command_line import command
from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation.archive import write_summary
from entropy_grounding.experiments.estimate import GPU_PASSES
from entropy_grounding.profiling.attention_layers import ATTENTION_LAYERS, measure_all
from entropy_grounding.profiling.memory_needs import MEMORY, measure_memory
from entropy_grounding.profiling.passes import BENCHMARK_COST, measure
from entropy_grounding.profiling.random_vlm import SHAPES
from entropy_grounding.profiling.released import measure_released, released_table
from entropy_grounding.profiling.rows import row_seconds


def main(options: Namespace) -> None:
    """Measure, print, and write the figures."""
    actions = {"passes": passes, "memory": memory, "rows": rows, "layers": layers}
    command(lambda: actions[options.action](options))


def passes(options: Namespace) -> None:
    """Write ``benchmark_cost.json`` and ``gpu_passes.json``, or one of them.

    The first has ratios of time and memory, the median of interleaved repeats on a CPU. The second
    has the figures of the released shapes, on the GPU or of their twins on the CPU.

    Raises:
        InputError: for less than one repeat or example, or an unknown model.
    """
    if options.repeats < 1 or options.examples < 1:
        raise InputError("--repeats and --examples must be at least 1.")
    names = options.models or list(SHAPES)
    for name in names:
        check_choice("--models", name, tuple(SHAPES))

    torch.set_num_threads(1)
    folder = Path(expanded(options.results)) / "measured"
    if options.part != RELEASED:
        table = measure(options.repeats, options.examples)
        shown = table[["figure", "value", "limit"]]
        print(shown.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
        write_summary(folder / BENCHMARK_COST, table)
    if options.part != MID:
        rows = measure_released(folder / GPU_PASSES, names, options.repeats)
        print(released_table(rows))


def memory(options: Namespace) -> None:
    """Write ``memory.json``: what the released checkpoints need, and what makes them fit.

    Raises:
        InputError: for a checkpoint without a copy in the folder of ``--weights-dir``.
    """
    torch.set_num_threads(1)
    folder = options.weights_dir and expanded(options.weights_dir)
    table = measure_memory(folder)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    write_summary(Path(expanded(options.results)) / "measured" / MEMORY, table)


def rows(options: Namespace) -> None:
    """Print seconds and shares of an evaluation by stage.

    Raises:
        InputError: for less than one example.
    """
    if options.examples < 1:
        raise InputError("--examples must be at least 1.")

    torch.set_num_threads(1)
    table = row_seconds(options.vlm, options.benchmark, options.method, options.examples)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


def layers(options: Namespace) -> None:
    """Write ``attention_layers.json``: the energy in the evidence by VLM, question and layer."""
    torch.set_num_threads(1)
    write_summary(Path(expanded(options.results)) / "measured" / ATTENTION_LAYERS, measure_all())
