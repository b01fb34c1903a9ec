"""Which decoder layer and which general question should relative attention use?

``eg profile layers`` measures this for every tiny VLM, on validation rows of three miniatures. The
figure is the share of the first map's energy in the evidence boxes, divided by that of a constant
map. The figures go to results/measured/attention_layers.json. The table in docs/baselines.md and
the values of ``vlm.attention_layer`` come from that file, and a test compares them.
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
BENCHMARKS = ("mini_textvqa", "mini_vstar", "mini_infovqa")
EXAMPLES = 30  # per benchmark
# General questions whose attention divides that of the question; "" stands for no division.
QUESTIONS = (NEUTRAL_QUESTION, "What is in the image?", "List the cards.", "")


def measure(vlm: VLM, example: Example) -> Iterator[dict[str, Any]]:
    """Yield one row per general question and layer.

    "energy_over_chance" is the share of the map's energy in the evidence, divided by that of a
    constant map.
    """
    picture = vlm.encode(example.image)
    prompt = vlm.prompt(example.prompt, [picture])
    asked = _layers(vlm.attention(prompt).weights)

    for question in QUESTIONS:
        divisor = None
        if question:
            general = vlm.prompt(question, [picture])
            divisor = _layers(vlm.attention(general).weights)

        for name, relevance in asked.items():
            relative = relevance
            if divisor is not None:
                relative = relative_relevance(relevance, divisor[name], floor=0.0)

            # The map of the first view, smoothed as in the method.
            first = relevance_maps(relative, prompt.views, GroundingOptions().regions.sigma_for)[0]
            energy = energy_in_box(first, example.boxes) / chance(first, example.boxes)
            yield {"question": question, "layer": name, "energy_over_chance": energy}


def _layers(weights: Float[Tensor, "layers heads tokens"]) -> dict[str, Float[Tensor, " tokens"]]:
    """Return the mean over heads for every layer, by its number, and the mean over layers."""
    layers = weights.mean(1)  # (layers, tokens)
    return {**{str(number): layer for number, layer in enumerate(layers)}, MEAN: layers.mean(0)}


def measure_all() -> pd.DataFrame:
    """Return the mean of `measure` for every tiny VLM, question and layer.

    A row also tells the number of examples ``n``, the weights and the commit.
    """
    rows = []
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
                rows += [{**about, **row} for row in measure(vlm, example)]

    groups = pd.DataFrame(rows).groupby(
        ["vlm", "weights", "commit", "question", "layer"], sort=False
    )
    means = groups["energy_over_chance"].agg(["mean", "size"])
    return means.rename(columns={"mean": "energy_over_chance", "size": "n"}).reset_index()


def best_layers(found: pd.DataFrame) -> dict[str, int]:
    """Return the layer with the most energy in the evidence, by name of the VLM.

    Attention is divided by that for ViCrop's general question. ``found`` comes from `measure_all`.
    """
    divided = found[(found["question"] == NEUTRAL_QUESTION) & (found["layer"] != MEAN)]

    best = {}
    for vlm, rows in divided.groupby("vlm", sort=False):
        best[str(vlm)] = int(rows.loc[rows["energy_over_chance"].idxmax(), "layer"])
    return best


def layers_table(found: pd.DataFrame) -> str:
    """Return the Markdown table of `measure_all`, with a sentence about its source.

    There is one row per VLM and question, and one column per layer.
    """
    named = found.assign(
        vlm="`" + found["vlm"] + "`", question=found["question"].replace("", "(not divided)")
    )
    wide = named.pivot_table(
        index=["vlm", "question"], columns="layer", values="energy_over_chance", sort=False
    ).round(2)
    wide = wide.rename(
        columns=lambda name: "mean over layers" if name == MEAN else f"layer {name}"
    ).reset_index()
    table = wide.rename(columns={"vlm": "VLM"}).to_markdown(index=False)

    # Weights and commit are the same in all rows of a VLM.
    about = found.drop_duplicates("vlm")
    weights = ", ".join(
        f"`{row.vlm}` {row.weights} (commit {row.commit}, n = {row.n})"
        for row in about.itertuples()
    )
    return f"{table}\n\nWeights (SHA-256): {weights}."
