"""Every choice of the method, refused before any model runs where it is impossible."""

from dataclasses import dataclass, field

import numpy as np

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Text
from entropy_grounding.method.attribution import SIGNALS
from entropy_grounding.method.gate import GateOptions, check_gate
from entropy_grounding.method.regions import SCORES, RegionOptions, threshold_value
from entropy_grounding.method.relevance import RELEVANCES
from entropy_grounding.method.stopping import RULES, StoppingOptions
from entropy_grounding.method.target import TARGETS

# Where crops come from; "found" is the paper's loop, the others are in `baselines` (`baselines.METHODS` has one function each).
CROPS = (
    "found",
    "window",
    "search",
    "nested",
    "random",
    "center",
    "lowest",
    "repeated",
    "blank",
    "oracle",
    "oracle_budget",
    "upscaled",
)
OF_THE_VLM = "vlm"  # as a neutral question: the one of the VLM's configuration


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """Choices of ViCrop (arXiv 2502.17422), for ``crops="window"``.

    Attributes:
        side: pixels of the original image, of the smallest window; None takes the side of the VLM's input.
        high_res: compute the map on tiles of the image, each shown alone.
        tile: pixels, a picture is cut into as many rows as tiles of this height fit into it, rounded up; None is 1,024 for an input of 336
            pixels and in proportion for others.
        median: cells of the median filter on the high-pass picture of pixel gradients; 7 in the released code, 3 in the paper.
    """

    side: int | None = None
    high_res: bool = False
    tile: int | None = None
    median: int = 7


@dataclass(frozen=True, slots=True)
class GroundingOptions:
    """Every choice of the method; the presets are in ``conf/method``.

    Attributes:
        signal: what a map is made of, a key of `signals.SIGNALS`, or "pixel_gradient" with windows.
        layers: of attention maps, "mean" over all or the one "chosen" by ``vlm.attention_layer``.
        target: the scalar that is differentiated, a key of `target.TARGETS`.
        answer_token: which token of the greedy answer the target sees, from 1.
        decoder_layers: how many of the language model's layers come before the target; None for all.
        relevance: from gradient to token relevance, a key of `relevance.RELEVANCES`.
        neutral_question: divide by the map of this question; "vlm" for that of the VLM's configuration, None for no division.
        neutral_floor: smallest divisor, as a fraction of the mean.
        crops: where they come from, one of `CROPS`: "found" by the loop, or by a baseline.
        candidates: crops to try with ``crops="search"``.
        window: choices of ViCrop.
        padding: "respected", or "ignored" for the authors' geometry, which maps cells as if a padded picture were stretched.
        regions: from map to boxes.
        stopping: when to end.
        gate: when to answer without zooming, and when to keep the plain answer.
        reuse: "exact" keeps keys and values: an answer goes on from its map's forward, or from the full image's, and nothing is computed
            twice; "off" encodes and runs every prompt anew, with logits of all positions (as the authors' code).
        reground: what later rounds differentiate: "all" pictures, or "crops" alone, behind the kept full image, which then competes with
            its first map (an approximation: its tokens get no new gradient).
        crop_scale: pixels or tiles of a crop, relative to the full image's budget, where the family has one (an approximation).
        gradient_layer: take the gradient at the input of this decoder layer instead, from 0; None for the visual tokens themselves
            (an approximation that skips the backward pass through earlier layers).
    """

    signal: str = "gradient"
    layers: str = "mean"
    target: str = "entropy"
    answer_token: int = 1
    decoder_layers: int | None = None
    relevance: str = "gradient_norm"
    neutral_question: Text | None = None
    neutral_floor: float = 0.01
    crops: str = "found"
    candidates: int = 16
    window: WindowOptions = field(default_factory=WindowOptions)
    padding: str = "respected"
    regions: RegionOptions = field(default_factory=RegionOptions)
    stopping: StoppingOptions = field(default_factory=StoppingOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    reuse: str = "exact"
    reground: str = "all"
    crop_scale: float = 1.0
    gradient_layer: int | None = None

    def __post_init__(self) -> None:
        """Refuse unknown names and impossible numbers before any model runs."""
        _check_choice("target", self.target, TARGETS)
        _check_choice("relevance", self.relevance, RELEVANCES)
        _check_choice(
            "signal",
            self.signal,
            (*SIGNALS, "pixel_gradient") if self.crops == "window" else SIGNALS,
        )
        _check_choice("layers", self.layers, ("mean", "chosen"))
        _check_choice("crops", self.crops, CROPS)
        _check_at_least("answer_token", self.answer_token, 1)
        _check_at_least(
            "decoder_layers", 1 if self.decoder_layers is None else self.decoder_layers, 1
        )
        if self.signal != "gradient" and (
            self.answer_token,
            self.decoder_layers,
            self.gradient_layer,
        ) != (1, None, None):
            raise InputError(
                f"method.signal is '{self.signal}': answer_token, decoder_layers and gradient_layer are for signal=gradient."
            )
        _check_at_least("neutral_floor", self.neutral_floor, 0)
        _check_at_least("candidates", self.candidates, 1)
        for name in ("side", "tile", "median"):
            _check_at_least(f"window.{name}", getattr(self.window, name) or 1, 1)
        _check_choice("reuse", self.reuse, ("exact", "off"))
        _check_choice("reground", self.reground, ("all", "crops"))
        if self.reground == "crops" and not (
            self.reuse == "exact" and self.differentiates_prompts and self.neutral_question is None
        ):
            raise InputError(
                "method.reground is 'crops': it needs reuse=exact and signal=gradient, without answer_token, layers or neutral_question."
            )
        if not 0 < self.crop_scale <= 1:
            raise InputError(f"crop_scale is {self.crop_scale}: use more than 0 and at most 1.")
        _check_at_least("gradient_layer", self.gradient_layer or 0, 0)
        check_gate(self.gate)
        _check_choice("padding", self.padding, ("respected", "ignored"))
        _check_choice("regions.score", self.regions.score, SCORES)
        _check_choice("regions.connectivity", self.regions.connectivity, (4, 8))
        _check_choice("regions.aspect_rule", self.regions.aspect_rule, ("two_sided", "released"))
        _check_choice("stopping.rule", self.stopping.rule, RULES)
        _check_at_least("regions.max_regions", self.regions.max_regions, 1)
        _check_at_least("regions.sigma", self.regions.sigma, 0)
        _check_at_least("regions.max_aspect", self.regions.max_aspect, 1)
        _check_at_least("regions.margin", self.regions.margin, 0)
        _check_at_least("regions.min_side", self.regions.min_side, 0)
        _check_at_least("regions.max_iou", self.regions.max_iou, 0)
        threshold_value(np.array([0.0, 1.0]), self.regions.threshold)
        threshold_value(np.array([0.0, 1.0]), self.stopping.entropy_threshold)
        _check_at_least("stopping.rounds", self.stopping.rounds, 1)
        _check_at_least("stopping.max_rounds", self.stopping.max_rounds, 0)

    @property
    def differentiates_prompts(self) -> bool:
        """Whether a map differentiates the very pass that an answer could begin with."""
        layers = (self.decoder_layers, self.gradient_layer)
        return self.signal == "gradient" and self.answer_token == 1 and layers == (None, None)


def _check_choice(name: str, value: object, known: object) -> None:
    if value not in known:  # type: ignore[operator]
        raise InputError(
            f"Unknown {name} '{value}': use one of {', '.join(str(k) for k in known)}."
        )  # type: ignore[attr-defined]


def _check_at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise InputError(f"{name} is {value}: it must be at least {least}.")
