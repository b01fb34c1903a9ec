"""Does a tiny VLM show the paper's phenomenon? ``python -m entropy_grounding.tiny.check`` answers on held-out scenes."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from entropy_grounding.baselines.controls import answer_from_crops, oracle_box, random_box
from entropy_grounding.commands import hydra_command
from entropy_grounding.configs import compose_config, register
from entropy_grounding.errors import InputError
from entropy_grounding.options import GroundingOptions
from entropy_grounding.processes import end_with_parent
from entropy_grounding.results import manifest, write_results
from entropy_grounding.structures import Box, Grounding, RelevanceMap
from entropy_grounding.tables import check_table
from entropy_grounding.tiny.build import canvas_of
from entropy_grounding.tiny.questions import held_out_example
from entropy_grounding.tiny.scenes import draw_scene
from entropy_grounding.verbatim import Place
from entropy_grounding.vlm import VLM, VLMConfig, load_vlm
from entropy_grounding.zoom import ground


@dataclass(frozen=True)
class CheckConfig:
    """Options of the check; ``workers`` processes of ``threads`` threads each share the scenes."""

    vlm: VLMConfig = field(default_factory=VLMConfig)
    examples: int = 500
    first_seed: int = 0
    threads: int = 1
    workers: int = 1
    results_dir: Place = "results/tiny_check"
    methods: dict[str, list[str]] = field(default_factory=dict)


register("check_schema", CheckConfig)


def evidence_hit(relevance_map: RelevanceMap, evidence: Box) -> tuple[bool, float]:
    """Return whether the peak cell of a map overlaps the evidence, and the share of cells that do (the chance of a hit)."""
    rows, cols = relevance_map.values.shape
    touching = np.array(
        [[relevance_map.view.cell_box((r, c, r + 1, c + 1)).intersection(evidence) is not None for c in range(cols)] for r in range(rows)]
    )
    return bool(touching.flat[np.argmax(relevance_map.values)]), float(touching.mean())


def check_example(vlm: VLM, seed: int, methods: dict[str, GroundingOptions]) -> list[dict[str, Any]]:
    """Return one row per method for the held-out scene of this seed; "plain" comes with the oracle crop's prompt."""
    scene, question = held_out_example(seed, canvas_of(vlm.model.config.model_type))
    image, (evidence,) = draw_scene(scene), question.evidence
    oracle = oracle_box(evidence, image.size)
    anywhere = random_box(np.random.default_rng([seed, 1]), oracle, image.size)
    groundings = {
        "oracle crop": answer_from_crops(vlm, image, question.text, [oracle]),
        "random crop": answer_from_crops(vlm, image, question.text, [anywhere]),
        **{name: ground(vlm, image, question.text, options) for name, options in methods.items()},
    }
    rows = [_row(seed, "plain", question.answer, groundings["oracle crop"].plain_answer, None, evidence)]
    return rows + [_row(seed, name, question.answer, g.answer, g, evidence) for name, g in groundings.items()]


def _row(seed: int, method: str, truth: str, answer: str, grounding: Grounding | None, evidence: Box) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": seed, "method": method, "truth": truth, "answer": answer, "correct": answer == truth}
    if grounding is not None and grounding.steps:
        first = grounding.steps[0]
        hit, chance = evidence_hit(first.maps[0], evidence)
        row |= {"peak_hit": hit, "peak_chance": chance, "rounds": len(grounding.steps), "entropy": first.entropy}
        row |= {"stop_reason": grounding.stop_reason, **asdict(grounding.cost)}
    return row


def check(config: CheckConfig) -> pd.DataFrame:
    """Return the rows of all examples and methods, in the order of the seeds.

    Raises:
        InputError: for fewer than one example or worker.
    """
    for name, value in (("examples", config.examples), ("workers", config.workers)):
        if value < 1:
            raise InputError(f"{name} is {value}: the check needs at least 1.")
    seeds = range(config.first_seed, config.first_seed + config.examples)
    size = max(1, min(10, len(seeds) // config.workers))
    parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    with ProcessPoolExecutor(config.workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        found = pool.map(partial(check_part, config), parts)
        bar = tqdm(found, desc=f"checking {config.vlm.name}, {size} scenes a step", total=len(parts))
        return pd.DataFrame([row for part in bar for row in part])


def check_part(config: CheckConfig, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of some examples; loads the model itself, so that it runs in any process."""
    torch.set_num_threads(config.threads)
    methods: dict[str, GroundingOptions] = {label: compose_config(overrides).method for label, overrides in config.methods.items()}
    vlm = load_vlm(config.vlm)
    return [row for seed in seeds for row in check_example(vlm, seed, methods)]


@hydra_command("check", CheckConfig)
def main(config: CheckConfig) -> None:
    """Print the table of required figures and store the rows behind it."""
    source = manifest(asdict(config))
    print(check_table(write_results(Path(config.results_dir) / config.vlm.name, check(config), source)))


if __name__ == "__main__":
    main()
