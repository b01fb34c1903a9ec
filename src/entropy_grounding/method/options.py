"""Every choice of the method.

Each group of options checks itself, so impossible values are refused before any model runs.
"""

from dataclasses import asdict, dataclass, field, replace

from entropy_grounding.core.checks import check_at_least, check_choice
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Text
from entropy_grounding.method.budget import BudgetOptions
from entropy_grounding.method.gate import OFF, GateOptions
from entropy_grounding.method.regions import RegionOptions
from entropy_grounding.method.relevance import RELEVANCES
from entropy_grounding.method.stopping import StoppingOptions
from entropy_grounding.method.target import TARGETS

# How token relevance is computed; `attribution.ATTRIBUTIONS` has one function for each.
SIGNALS = ("gradient", "attention", "gradient_attention", "localization_heads")
PIXEL_GRADIENT = "pixel_gradient"  # ViCrop's: of log p(t*) at the pixels, as `signals` computes it
MASKS = ("default", "detail", "none")

# Where crops come from. "found" is the paper's loop, "anytime" a cascade that begins with it;
# `baselines.METHODS` has the others.
CROPS = (
    "found",
    "anytime",
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
INJECTIONS = ("all", "first")
OF_THE_VLM = "vlm"  # as a neutral question: the one of the VLM's configuration


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """Choices of ViCrop (arXiv 2502.17422), for ``crops="window"``.

    Attributes:
        side: side of the smallest window in pixels of the original image; None takes the side of
            the VLM's input.
        high_res: compute the map on tiles of the image, each shown alone.
        tile: height of a tile in pixels; the image is cut into as many rows as fit, rounded up.
            None is 1,024 for an input of 336 pixels, and in proportion for others.
        median: side in pixels of the median filter on the high-pass picture of the detail mask; 7
            in the released code, 3 in the paper.
    """

    side: int | None = None
    high_res: bool = False
    tile: int | None = None
    median: int = 7

    def __post_init__(self) -> None:
        """Refuse impossible values before any model runs."""
        for name in ("side", "tile", "median"):
            check_at_least(f"window.{name}", getattr(self, name) or 1, 1)


@dataclass(frozen=True, slots=True)
class GroundingOptions:
    """Every choice of the method; the presets are in ``conf/method``.

    Attributes:
        signal: how token relevance is computed, one of `SIGNALS`, or "pixel_gradient": the gradient
            of log p(t*) at the pixels, whatever ``target`` says, as a mean over each token's
            pixels.
        mask: "detail" counts a map only where the picture has detail, as ViCrop does; "none" counts
            all of it; "default" is "detail" for pixel gradients and "none" for the others.
        layers: of attention maps: "mean" over all, or the one "chosen" by ``vlm.attention_layer``.
        target: the scalar that is differentiated, a key of `TARGETS`.
        answer_token: which token of the greedy answer the target sees, from 1.
        decoder_layers: how many of the language model's layers come before the target; None for
            all.
        relevance: from gradient to token relevance, a key of `RELEVANCES`.
        neutral_question: divide by the map of this question; "vlm" for that of the VLM's
            configuration, None for no division.
        neutral_floor: smallest divisor, as a fraction of the mean.
        crops: where they come from, one of `CROPS`: "found" by the loop, "anytime" by a cascade, or
            by a baseline.
        candidates: number of crops to try with ``crops="search"`` or "anytime".
        window: choices of ViCrop.
        padding: "respected", or "ignored" for the authors' geometry, which maps cells as if a
            padded picture were stretched.
        regions: from map to boxes.
        stopping: when to end.
        gate: when to answer without zooming, and when to keep the plain answer.
        budget: where a cascade ends, with ``crops="anytime"``. With ``crops="search"``
            ``budget.tries`` alone: only so many candidates, in the order of the map, are tried.
        reuse: "exact" keeps keys and values: an answer resumes the pass of its map, or that of the
            full image, and nothing is computed twice. "off" encodes and runs every prompt again,
            with the logits of all positions (as the authors' code).
        reground: what later rounds differentiate: "all" pictures, or "crops" alone, behind the kept
            full image, whose first map then competes (an approximation: its tokens get no new
            gradient).
        crop_scale: pixels or tiles of a crop, relative to the budget of the full image, if the
            family has one (an approximation).
        gradient_layer: take the gradient at the inputs of this decoder layer, from 0; None for the
            visual tokens themselves (an approximation that skips the backward pass through earlier
            layers).
        decoder_depth: ``decoder_layers`` as a fraction of all layers, which fits VLMs of any size;
            it becomes the number of layers before anything runs (`at_depth`).
        gradient_depth: ``gradient_layer`` as a fraction of all layers, in the same way.
        injections: which parts of a visual token the relevance counts, for models into which it
            enters at several layers (Qwen3-VL): "all", or "first", the embeddings alone.
    """

    signal: str = "gradient"
    mask: str = "default"
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
    budget: BudgetOptions = field(default_factory=BudgetOptions)
    reuse: str = "exact"
    reground: str = "all"
    crop_scale: float = 1.0
    gradient_layer: int | None = None
    decoder_depth: float | None = None
    gradient_depth: float | None = None
    injections: str = "all"

    def __post_init__(self) -> None:
        """Refuse unknown names and impossible numbers before any model runs."""
        _check_attribution(self)
        _check_savings(self)
        _check_pixels(self)
        _check_budget(self)

        check_choice("crops", self.crops, CROPS)
        check_choice("padding", self.padding, ("respected", "ignored"))
        check_at_least("candidates", self.candidates, 1)

    @property
    def differentiates_prompts(self) -> bool:
        """Whether the map differentiates the pass that an answer can resume."""
        layers = (self.decoder_layers, self.gradient_layer, *self.depths)
        whole = all(layer is None for layer in layers)
        return self.signal == "gradient" and self.answer_token == 1 and whole

    @property
    def masks_detail(self) -> bool:
        """Whether a map counts only where the picture has detail."""
        if self.mask == "default":
            return self.signal == PIXEL_GRADIENT
        return self.mask == "detail"

    @property
    def depths(self) -> tuple[float | None, float | None]:
        """The fractions of depth: of ``decoder_depth`` and ``gradient_depth``."""
        return self.decoder_depth, self.gradient_depth


def at_depth(options: GroundingOptions, layers: int) -> GroundingOptions:
    """Return the options with numbers of layers in place of fractions, for one language model.

    Args:
        options: the options of a method.
        layers: number of decoder layers of the language model.

    Raises:
        InputError: for a layer that the language model does not have.
    """
    if options.decoder_depth is not None:
        count = max(1, round(options.decoder_depth * layers))
        options = replace(options, decoder_layers=count, decoder_depth=None)
    if options.gradient_depth is not None:
        layer = min(layers - 1, round(options.gradient_depth * layers))
        options = replace(options, gradient_layer=layer, gradient_depth=None)

    if (options.decoder_layers or 0) > layers:
        raise InputError(
            f"method.decoder_layers is {options.decoder_layers}: this model has {layers}; use "
            "method.decoder_depth=FRACTION for models of any size."
        )
    if (options.gradient_layer or 0) >= layers:
        raise InputError(
            f"method.gradient_layer is {options.gradient_layer}: this model has {layers} layers, "
            "from 0; use method.gradient_depth=FRACTION for models of any size."
        )
    return options


def _check_attribution(options: GroundingOptions) -> None:
    """Refuse impossible choices of the scalar, its gradient and the token relevance."""
    check_choice("target", options.target, TARGETS)
    check_choice("relevance", options.relevance, RELEVANCES)
    check_choice("layers", options.layers, ("mean", "chosen"))
    check_choice("signal", options.signal, (*SIGNALS, PIXEL_GRADIENT))

    check_at_least("answer_token", options.answer_token, 1)
    check_at_least("decoder_layers", options.decoder_layers, 1)
    check_choice("injections", options.injections, INJECTIONS)
    check_at_least("gradient_layer", options.gradient_layer, 0)
    check_at_least("neutral_floor", options.neutral_floor, 0)

    _check_depth("decoder", options.decoder_depth, options.decoder_layers)
    _check_depth("gradient", options.gradient_depth, options.gradient_layer)

    layers = (options.decoder_layers, options.gradient_layer, *options.depths)
    if options.signal != "gradient" and (options.answer_token, *layers) != (1, *(None,) * 4):
        raise InputError(
            f"method.signal is '{options.signal}': answer_token, decoder_layers, gradient_layer "
            "and their depths are for signal=gradient."
        )


def _check_depth(name: str, depth: float | None, layer: int | None) -> None:
    """Refuse a fraction outside 0 to 1, and a fraction beside a number of layers."""
    if depth is None:
        return
    if not 0 <= depth <= 1:
        raise InputError(f"method.{name}_depth is {depth}: use a fraction from 0 to 1.")
    if layer is not None:
        raise InputError(
            f"method.{name}_depth is {depth} and the same is set as a number ({layer}): use one "
            "of the two."
        )


def _check_savings(options: GroundingOptions) -> None:
    """Refuse impossible choices of what is kept and what is approximated."""
    check_choice("reuse", options.reuse, ("exact", "off"))
    check_choice("reground", options.reground, ("all", "crops"))
    if not 0 < options.crop_scale <= 1:
        raise InputError(f"crop_scale is {options.crop_scale}: use more than 0 and at most 1.")

    own_pass = options.differentiates_prompts and options.neutral_question is None
    if options.reground == "crops" and not (options.reuse == "exact" and own_pass):
        raise InputError(
            "method.reground is 'crops': it needs reuse=exact and signal=gradient, "
            "without answer_token, layers or neutral_question."
        )


def _check_pixels(options: GroundingOptions) -> None:
    """Refuse an unknown mask, and pixels of crops that are read in another size than they have."""
    check_choice("mask", options.mask, MASKS)

    reads_pixels = options.signal == PIXEL_GRADIENT or options.masks_detail
    if reads_pixels and options.crop_scale != 1:
        raise InputError(
            f"method.crop_scale is {options.crop_scale}: pixel gradients and detail masks read "
            "crops at their full budget; use 1."
        )


def _check_budget(options: GroundingOptions) -> None:
    """Refuse a budget that its crops do not have, and a cascade that its gate cannot serve."""
    if options.crops == "search":
        _check_tries(options.budget)
        return

    if options.crops != "anytime":
        if options.budget != BudgetOptions():
            raise InputError(
                "method.budget is for method.crops=anytime, and its tries for method.crops=search: "
                f"method.crops is '{options.crops}'."
            )
        return

    if options.gate.score != "entropy" or options.gate.accept != OFF:
        raise InputError(
            "method.crops=anytime compares answers by entropy: "
            "use method.gate.score=entropy and method.gate.accept=off."
        )
    if options.reuse == "off":
        raise InputError("method.crops=anytime resumes kept passes: use method.reuse=exact.")


def _check_tries(budget: BudgetOptions) -> None:
    """Refuse a budget of a search that is more than a number of tries, or no try at all."""
    usual = asdict(BudgetOptions())
    for name, value in asdict(budget).items():
        if name != "tries" and value != usual[name]:
            raise InputError(
                f"method.budget.{name} is {value}: a search has only tries; leave it out, or use "
                "method.crops=anytime."
            )

    if budget.tries == 0:
        raise InputError(
            "method.budget.tries is 0: a search tries at least 1; use method=base for none."
        )
