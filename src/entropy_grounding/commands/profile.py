"""`eg profile`: measure what passes cost, and which attention layers look at the evidence."""

from argparse import Namespace
from pathlib import Path

import torch

from entropy_grounding.commands.command_line import command
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import expanded
from entropy_grounding.evaluation.archive import write_summary
from entropy_grounding.profiling.attention_layers import ATTENTION_LAYERS, measure_all
from entropy_grounding.profiling.passes import BENCHMARK_COST, measure


def main(options: Namespace) -> None:
    """Measure, print, and write the figures."""
    command(lambda: {"passes": passes, "layers": layers}[options.action](options))


def passes(options: Namespace) -> None:
    """Write ``benchmark_cost.json``: ratios of time and memory, the median of interleaved repeats.

    Raises:
        InputError: for less than one repeat or example.
    """
    if options.repeats < 1 or options.examples < 1:
        raise InputError("--repeats and --examples must be at least 1.")

    torch.set_num_threads(1)
    table = measure(options.repeats, options.examples)
    shown = table[["figure", "value", "limit"]]
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    write_summary(Path(expanded(options.results)) / "measured" / BENCHMARK_COST, table)


def layers(options: Namespace) -> None:
    """Write ``attention_layers.json``: the energy in the evidence by VLM, question and layer."""
    torch.set_num_threads(1)
    write_summary(Path(expanded(options.results)) / "measured" / ATTENTION_LAYERS, measure_all())
