"""Which decoder layer, and which general question, relative attention should use: ``python -m entropy_grounding.baselines.layers``.

For every tiny VLM, on validation rows of three miniatures: the share of the first map's energy that lies in the evidence boxes, over that
of a constant map. Writes results/attention_layers.json, from which docs/baselines.md and ``vlm.attention_layer`` come (a test compares).
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from entropy_grounding.benchmarks.base import Example
from entropy_grounding.benchmarks.load import benchmark_config, load_benchmark
from entropy_grounding.benchmarks.miniature.scenes import canvas_of
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.relevance import relative_relevance, relevance_maps
from entropy_grounding.metrics.localization import chance, energy_in_box
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.vlm.family import NEUTRAL_QUESTION
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import weights_identities

ATTENTION_LAYERS = "attention_layers.json"
MEAN = "mean"
BENCHMARKS, EXAMPLES = ("mini_textvqa", "mini_vstar", "mini_infovqa"), 30
QUESTIONS = (
    NEUTRAL_QUESTION,
    "What is in the image?",
    "List the cards.",
    "",
)  # the empty one stands for no division


def measure(vlm: VLM, example: Example) -> Iterator[dict[str, Any]]:
    """Yield, by question and layer, how much energy of the map is in the evidence, over a constant map."""
    picture = vlm.encode(example.image)
    prompt = vlm.prompt(example.prompt, [picture])
    asked = _layers(vlm.attention(prompt).weights)
    for question in QUESTIONS:
        divisor = (
            _layers(vlm.attention(vlm.prompt(question, [picture])).weights) if question else None
        )
        for name, relevance in asked.items():
            relative = (
                relevance
                if divisor is None
                else relative_relevance(relevance, divisor[name], floor=0.0)
            )
            first = relevance_maps(relative, prompt.views, GroundingOptions().regions.sigma_for)[0]
            energy = energy_in_box(first, example.boxes) / chance(first, example.boxes)
            yield {"question": question, "layer": name, "energy_over_chance": energy}


def _layers(weights: Float[Tensor, "layers heads tokens"]) -> dict[str, Float[Tensor, " tokens"]]:
    """Return the mean over heads of every layer, and the mean over layers."""
    layers = weights.mean(1)
    return {**{str(number): layer for number, layer in enumerate(layers)}, MEAN: layers.mean(0)}


def measure_all() -> pd.DataFrame:
    """Return the mean of `measure` for every tiny VLM, question and layer, with ``n``, weights and commit."""
    lines = []
    for family in RECIPES:
        vlm = load_vlm(f"tiny_{family}")
        about = {
            "vlm": vlm.name,
            "weights": weights_identities(f"tiny:{family}")["weights"][:12],
            "commit": commit(),
        }
        for benchmark in tqdm(BENCHMARKS, desc=vlm.name):
            config = benchmark_config(
                benchmark,
                split="validation",
                examples=EXAMPLES,
                canvas=canvas_of(vlm.model.config.model_type),
            )
            for example in load_benchmark(config):
                assert isinstance(example, Example)
                lines += [{**about, **line} for line in measure(vlm, example)]
    grouped = pd.DataFrame(lines).groupby(
        ["vlm", "weights", "commit", "question", "layer"], sort=False
    )["energy_over_chance"]
    return (
        grouped.agg(["mean", "size"])
        .rename(columns={"mean": "energy_over_chance", "size": "n"})
        .reset_index()
    )


def best_layers(found: pd.DataFrame) -> dict[str, int]:
    """Return, by VLM, the layer whose attention, divided by that of ViCrop's question, has the most energy in the evidence."""
    divided = found[(found["question"] == NEUTRAL_QUESTION) & (found["layer"] != MEAN)]
    return {
        str(vlm): int(rows.loc[rows["energy_over_chance"].idxmax(), "layer"])
        for vlm, rows in divided.groupby("vlm", sort=False)
    }


def layers_table(found: pd.DataFrame) -> str:
    """Return the Markdown table of `measure_all`: a VLM and question a line, a layer a column, with its source."""
    named = found.assign(
        vlm="`" + found["vlm"] + "`", question=found["question"].replace("", "(not divided)")
    )
    wide = named.pivot_table(
        index=["vlm", "question"], columns="layer", values="energy_over_chance", sort=False
    ).round(2)
    wide = wide.rename(
        columns=lambda name: "mean over layers" if name == MEAN else f"layer {name}"
    ).reset_index()
    about = found.drop_duplicates("vlm")
    weights = ", ".join(
        f"`{row.vlm}` {row.weights} (commit {row.commit}, n = {row.n})"
        for row in about.itertuples()
    )
    return f"{wide.rename(columns={'vlm': 'VLM'}).to_markdown(index=False)}\n\nWeights (SHA-256): {weights}."
