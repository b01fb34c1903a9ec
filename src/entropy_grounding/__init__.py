"""Entropy-Gradient Grounding: a VLM finds evidence by the gradient of its own uncertainty.

The public names are imported when they are first used, so that `import entropy_grounding` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entropy_grounding.benchmarks.load import load_benchmark
    from entropy_grounding.core.errors import InputError
    from entropy_grounding.core.geometry import Box, View
    from entropy_grounding.core.images import load_image
    from entropy_grounding.core.records import Grounding, RelevanceMap
    from entropy_grounding.evaluation.archive import load_rows
    from entropy_grounding.evaluation.config import EvaluateConfig
    from entropy_grounding.evaluation.run import evaluate
    from entropy_grounding.grounding import ground, relevance_map
    from entropy_grounding.method.options import GroundingOptions
    from entropy_grounding.method.regions import propose_regions
    from entropy_grounding.method.stopping import spatial_entropy
    from entropy_grounding.method.target import next_token_entropy
    from entropy_grounding.plots import plot_grounding
    from entropy_grounding.vlm.load import load_vlm
    from entropy_grounding.vlm.model import VLM

__all__ = [
    "VLM",
    "Box",
    "EvaluateConfig",
    "Grounding",
    "GroundingOptions",
    "InputError",
    "RelevanceMap",
    "View",
    "evaluate",
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

_HOMES = {
    "benchmarks.load": ("load_benchmark",),
    "core.errors": ("InputError",),
    "core.geometry": ("Box", "View"),
    "core.images": ("load_image",),
    "core.records": ("Grounding", "RelevanceMap"),
    "evaluation.archive": ("load_rows",),
    "evaluation.config": ("EvaluateConfig",),
    "evaluation.run": ("evaluate",),
    "grounding": ("ground", "relevance_map"),
    "method.options": ("GroundingOptions",),
    "method.regions": ("propose_regions",),
    "method.stopping": ("spatial_entropy",),
    "method.target": ("next_token_entropy",),
    "plots": ("plot_grounding",),
    "vlm.load": ("load_vlm",),
    "vlm.model": ("VLM",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value

    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
