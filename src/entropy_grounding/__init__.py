"""Entropy-Gradient Grounding: a vision-language model finds evidence from the gradient of its own uncertainty."""

from entropy_grounding.benchmarks import load_benchmark
from entropy_grounding.configs import compose_config
from entropy_grounding.errors import InputError
from entropy_grounding.evaluation import evaluate
from entropy_grounding.images import load_image
from entropy_grounding.options import GroundingOptions
from entropy_grounding.plots import plot_grounding
from entropy_grounding.regions import find_regions, propose_regions
from entropy_grounding.results import load_rows
from entropy_grounding.stopping import spatial_entropy
from entropy_grounding.structures import Box, Grounding, RelevanceMap, View
from entropy_grounding.target import next_token_entropy
from entropy_grounding.vlm import VLM, load_vlm
from entropy_grounding.zoom import ground, relevance_map

__all__ = [
    "VLM",
    "Box",
    "Grounding",
    "GroundingOptions",
    "InputError",
    "RelevanceMap",
    "View",
    "compose_config",
    "evaluate",
    "find_regions",
    "ground",
    "load_benchmark",
    "load_image",
    "load_rows",
    "load_vlm",
    "next_token_entropy",
    "plot_grounding",
    "propose_regions",
    "relevance_map",
    "spatial_entropy",
]
