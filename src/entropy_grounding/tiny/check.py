"""Does a tiny VLM show the paper's phenomenon? ``eg check`` answers on held-out scenes."""

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
from scipy.stats import binomtest
from tqdm.auto import tqdm

from entropy_grounding.baselines.controls import answer_from_crops, oracle_box, random_box
from entropy_grounding.benchmarks.miniature.questions import held_out_example
from entropy_grounding.benchmarks.miniature.scenes import canvas_of, draw_scene
from entropy_grounding.core.config import compose_config, register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.processes import end_with_parent
from entropy_grounding.core.records import Grounding, RelevanceMap
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.grounding import ground
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import short_identity


def check_table(folder: str | Path) -> str:
    """Return the Markdown table of a stored `check`, one row per method.

    Intervals are exact 95 % intervals (Clopper-Pearson). The "way to oracle" is the share of the
    oracle crop's gain that a method reaches: (accuracy - plain) / (oracle - plain).
    """
    rows, manifest = load_rows(folder)
    accuracy = rows.groupby("method", sort=False)["correct"].mean()
    plain, oracle = accuracy["plain"], accuracy["oracle crop"]

    lines = [
        "| method | accuracy | 95 % interval | way to oracle | rounds |",
        "|---|---|---|---|---|",
    ]
    for method, group in rows.groupby("method", sort=False):
        interval = binomtest(int(group["correct"].sum()), len(group)).proportion_ci()
        way = (accuracy[method] - plain) / (oracle - plain)
        # Only methods with zoom steps have rounds.
        rounds = "" if group["rounds"].isna().all() else f"{group['rounds'].mean():.2f}"
        lines.append(
            f"| {method} | {accuracy[method]:.1%} | {interval.low:.1%} to {interval.high:.1%} "
            f"| {way:.0%} | {rounds} |"
        )

    return "\n".join([*lines, "", _peak_sentence(rows), "", _source_sentence(rows, manifest)])


def _peak_sentence(rows: pd.DataFrame) -> str:
    first = rows[rows["method"] == "entropy_gradient"]
    hits = first["peak_hit"].astype(bool).mean()
    return (
        f"Peak of the first map on the evidence: {hits:.1%} of examples "
        f"(chance {first['peak_chance'].mean():.1%})."
    )


def _source_sentence(rows: pd.DataFrame, manifest: dict) -> str:
    name = manifest["config"]["vlm"]["name"]
    return (
        f"Weights `{name}` (SHA-256 {manifest['weights_sha256'][:12]}), "
        f"n = {rows['seed'].nunique()} held-out scenes, commit {manifest['commit']}."
    )


def families_table(folders: Sequence[Path]) -> str:
    """Return the Markdown table of the required figures, one column per stored check."""
    columns = {}
    for folder in folders:
        rows, manifest = load_rows(folder)
        accuracy = rows.groupby("method", sort=False)["correct"].mean()

        # What a perfect crop gains is the unit of "the way from plain to oracle".
        plain, gain = accuracy["plain"], accuracy["oracle crop"] - accuracy["plain"]
        entropy_gradient = accuracy["entropy_gradient"]

        # Every method that finds its crops itself counts as a stopping rule.
        rules = accuracy.drop(["plain", "oracle crop", "random crop"])
        best = rules.max()
        first = rows[rows["method"] == "entropy_gradient"]

        columns[f"`{folder.name}`"] = {
            "plain": f"{plain:.1%}",
            "oracle crop": f"{accuracy['oracle crop']:.1%}",
            "random crop of the same size": f"{accuracy['random crop']:.1%}",
            "entropy gradient, paper's preset": f"{entropy_gradient:.1%}",
            "... of the way from plain to oracle": f"{(entropy_gradient - plain) / gain:.0%}",
            "best stopping rule": (
                f"{rules.idxmax()}: {best:.1%} ({(best - plain) / gain:.0%} of the way)"
            ),
            "peak of the first map on the evidence": f"{first['peak_hit'].astype(bool).mean():.1%}",
            "... by chance": f"{first['peak_chance'].mean():.1%}",
            "held-out scenes": str(rows["seed"].nunique()),
            "weights (SHA-256)": short_identity(manifest),
            "commit": manifest["commit"],
        }

    return pd.DataFrame(columns).to_markdown()


@dataclass(frozen=True)
class CheckConfig:
    """Options of the check.

    The scenes are shared among ``workers`` processes with ``threads`` threads each. ``methods``
    holds the overrides of each method's options by the method's label.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    examples: int = 500
    first_seed: int = 0
    threads: int = 1
    workers: int = 1
    results_dir: Place = "results/measured/tiny_check"
    methods: dict[str, list[str]] = field(default_factory=dict)


register("check_schema", CheckConfig)


def evidence_hit(relevance_map: RelevanceMap, evidence: Box) -> tuple[bool, float]:
    """Tell whether the peak of a map lies on the evidence.

    Returns:
        Whether the peak cell overlaps the evidence, and the share of cells that do: the chance that
        a random cell would.
    """
    touching = np.zeros(relevance_map.values.shape, dtype=bool)
    for row, col in np.ndindex(touching.shape):
        cell = relevance_map.view.cell_box((row, col, row + 1, col + 1))
        touching[row, col] = cell.intersection(evidence) is not None

    peak = np.argmax(relevance_map.values)
    return bool(touching.flat[peak]), float(touching.mean())


def check_example(
    vlm: VLM, seed: int, methods: dict[str, GroundingOptions]
) -> list[dict[str, Any]]:
    """Return one row per method for the held-out scene of this seed.

    The "plain" answer, without crops, is computed along with that from the oracle crop.
    """
    scene, question = held_out_example(seed, canvas_of(vlm.model.config.model_type))
    image = draw_scene(scene)
    (evidence,) = question.evidence

    # The random crop has the size of the oracle crop, and random numbers of its own per scene.
    oracle = oracle_box(evidence, image.size)
    anywhere = random_box(np.random.default_rng([seed, 1]), oracle, image.size)
    groundings = {
        "oracle crop": answer_from_crops(vlm, image, question.text, [oracle]),
        "random crop": answer_from_crops(vlm, image, question.text, [anywhere]),
    }
    for name, options in methods.items():
        groundings[name] = ground(vlm, image, question.text, options)

    truth, plain = question.answer, groundings["oracle crop"].plain_answer
    rows = [_row(seed, "plain", truth, plain, None, evidence)]
    for name, grounding in groundings.items():
        rows.append(_row(seed, name, truth, grounding.answer, grounding, evidence))
    return rows


def _row(
    seed: int, method: str, truth: str, answer: str, grounding: Grounding | None, evidence: Box
) -> dict[str, Any]:
    """Return a row of the table. Columns about zoom steps are missing where there is no step."""
    row: dict[str, Any] = {
        "seed": seed,
        "method": method,
        "truth": truth,
        "answer": answer,
        "correct": answer == truth,
    }

    if grounding is not None and grounding.steps:
        first = grounding.steps[0]
        hit, chance = evidence_hit(first.maps[0], evidence)
        row |= {
            "peak_hit": hit,
            "peak_chance": chance,
            "rounds": len(grounding.steps),
            "entropy": first.entropy,
        }
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

    # Small parts keep all workers busy to the end; a part loads the model only once.
    seeds = range(config.first_seed, config.first_seed + config.examples)
    size = max(1, min(10, len(seeds) // config.workers))
    parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]

    rows = []
    with ProcessPoolExecutor(
        config.workers, multiprocessing.get_context("spawn"), end_with_parent
    ) as pool:
        results = pool.map(partial(check_part, config), parts)
        bar = tqdm(
            results, desc=f"checking {config.vlm.name}, {size} scenes a step", total=len(parts)
        )
        for part in bar:
            rows += part
    return pd.DataFrame(rows)


def check_part(config: CheckConfig, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of the examples with these seeds.

    The model is loaded here, so that the function can run in any process.
    """
    torch.set_num_threads(config.threads)

    methods: dict[str, GroundingOptions] = {}
    for label, overrides in config.methods.items():
        # A composed evaluation wants a name for its method; any will do.
        composed = compose_config([*overrides, "method_name=any"], "evaluate", EvaluateConfig)
        methods[label] = composed.method

    vlm = load_vlm(config.vlm)
    rows = []
    for seed in seeds:
        rows += check_example(vlm, seed, methods)
    return rows
