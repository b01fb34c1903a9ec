"""What methods are called in figures, in which order they stand, and which color their kind has.

Rows and files hold the names of presets and variants. Axes show `method_label`.
"""

from collections.abc import Iterable

import seaborn as sns

from entropy_grounding.reporting.summary import METHODS, OURS

_PALETTE = sns.color_palette("colorblind")
# One color a kind of method, in every figure.
KIND_COLORS = {
    "plain": (0.0, 0.0, 0.0),
    "paper": _PALETTE[3],
    "ViCrop": _PALETTE[0],
    "search": _PALETTE[2],
    "other map": _PALETTE[4],
    "control": (0.5, 0.5, 0.5),
}
# How the names of a kind start; all others are the paper's method, or variants of it.
_STARTS = {
    "plain": "plain",
    "base": "plain",
    "shuffled": "plain",
    "likelihood": "plain",
    "vicrop": "ViCrop",
    "search": "search",
    "map": "other map",
    # The table of signals and procedures.
    "found": "other map",
    "window": "ViCrop",
    "ranked": "search",
    "control": "control",
}

LABELS = {
    OURS: "entropy gradient (paper)",
    "entropy_gradient_released": "released code",
    "gated": "paper, gated",
    "gated_all": "paper, one gate",
    "anytime": "anytime",
    "anytime_all": "anytime, never sure",
    "nested": "nested crops",
    "map_attention": "attention",
    "map_relative_attention": "relative attention",
    "map_log_probability": "gradient of log p",
    "map_gradient_x_input": "gradient × input",
    "map_localization_heads": "localisation heads",
    "vicrop_rel_att": "ViCrop rel-att",
    "vicrop_rel_att_chosen": "ViCrop rel-att, chosen layer",
    "vicrop_rel_att_high": "ViCrop rel-att, high res.",
    "vicrop_grad_att": "ViCrop grad-att",
    "vicrop_grad_att_chosen": "ViCrop grad-att, chosen layer",
    "vicrop_grad_att_high": "ViCrop grad-att, high res.",
    "vicrop_pure_grad": "ViCrop pure-grad",
    "vicrop_pure_grad_paper": "ViCrop pure-grad, as in paper",
    "vicrop_pure_grad_high": "ViCrop pure-grad, high res.",
    "search_8": "search, 8 windows",
    "search_16": "search, 16 windows",
    "search_32": "search, 32 windows",
    "control_random": "random crops",
    "control_center": "central crops",
    "control_lowest": "least relevant crops",
    "control_repeated": "image repeated",
    "control_blank": "blank crops",
    "control_upscaled": "image enlarged",
    "control_oracle": "oracle",
    "control_oracle_budget": "oracle, as many crops",
    # Signals with other procedures than those above.
    "found_pixels": "gradient at pixels",
    "found_pixels_unmasked": "gradient at pixels, no mask",
    "found_entropy_masked": "entropy gradient, masked",
    "window_entropy": "window, entropy gradient",
    "window_entropy_masked": "window, entropy gradient, masked",
    "window_pixels_unmasked": "window, pixels, no mask",
    "window_log_probability": "window, gradient of log p",
    "window_attention": "window, attention",
    "ranked_entropy": "4 of 16 by entropy gradient",
    "ranked_pixels": "4 of 16 by gradient at pixels",
    "ranked_log_probability": "4 of 16 by gradient of log p",
    "ranked_attention": "4 of 16 by attention",
    # Variants of the experiments.
    "regions_1": "K = 1",
    "regions_3": "K = 3",
    "regions_4": "K = 4",
    "regions_5": "K = 5",
    "last_crops": "no rollback (released)",
    "probability": "until p falls",
    "fixed_1": "1 round",
    "fixed_2": "2 rounds",
    "fixed_3": "3 rounds",
    "resolution": "until crops are small",
    "no_rule": "5 rounds, no rule",
    "nucleus_entropy": "entropy of the nucleus",
    "margin": "margin",
    "kl_to_uniform": "KL to uniform",
    "norm_product": "norm product",
    "token_2": "second token",
    "layers_1": "map at layer 1 of 4",
    "layers_3": "map at layer 3 of 4",
    "depth_0.25": "map at 1/4 of depth",
    "depth_0.75": "map at 3/4 of depth",
    "sigma_0": "no blur",
    "sigma_3": "twice the blur (σ = 3)",
    "half_max": "threshold: half of max",
    "quantile_0.9": "threshold: top tenth",
    "connectivity_8": "8 neighbours",
    "reground_crops": "look again at crops only",
    "crop_scale_0.5": "crops at half budget",
    "gradient_layer_1": "gradient at layer 1 of 4",
    "gradient_layer_2": "gradient at layer 2 of 4",
    "gradient_depth_0.25": "gradient at 1/4 of depth",
    "gradient_depth_0.5": "gradient at 1/2 of depth",
    "min_pixels_64": "crops in their own size",
    "min_pixels_1024": "at least 1,024 pixels",
    "min_pixels_16384": "16,384 pixels",
    "min_pixels_200704": "at least 200,704 pixels",
    "injections_first": "gradient at embedding only",
    "base": "as released",
    "shuffled": "options shuffled",
    "likelihood": "answer by likelihood",
}
# In an experiment that varies one thing, the reference is called by its value of that thing.
REFERENCES = {
    "ablation_regions": "K = 2 (paper)",
    "ablation_stopping": "spatial entropy (paper)",
    "ablation_objective": "entropy (paper)",
    "ablation_token_layer": "first token, all layers (paper)",
    "ablation_map_to_region": "elbow, σ = 1.5 (paper)",
    "ablation_savings": "nothing saved (paper)",
    "ablation_min_pixels": "at least 4,096 pixels (as trained)",
    "ablation_injections": "all injections (default)",
    "high_resolution": "spatial entropy (paper)",
}
_FIRST = ("plain", OURS)
_LAST = ("control_oracle_budget", "control_oracle")


def method_label(method: str, experiment: str = "") -> str:
    """Return the name of a method or variant for readers.

    Args:
        method: its name in rows. A name of a user is shown with spaces.
        experiment: the experiment that the figure shows; it may have its own word for the
            reference.
    """
    if method == OURS and experiment in REFERENCES:
        return REFERENCES[experiment]

    return LABELS.get(method, method.replace("_", " "))


def method_kind(method: str) -> str:
    """Return the kind of a method, a key of `KIND_COLORS`."""
    return next((kind for start, kind in _STARTS.items() if method.startswith(start)), "paper")


def method_color(method: str) -> tuple[float, float, float]:
    """Return the color of the kind of a method."""
    return KIND_COLORS[method_kind(method)]


def in_method_order(methods: Iterable[str]) -> list[str]:
    """Return every different method once: plain, the paper's, the others, and the oracles last.

    Known methods stand in the order of `METHODS`, variants in the order in which they appear.
    """
    order = [*_FIRST, *(name for name in METHODS if name not in (*_FIRST, *_LAST))]
    places = {name: place for place, name in enumerate(order)}
    places |= {name: len(order) + 1 + place for place, name in enumerate(_LAST)}

    # Variants stand behind the paper's method and before its rivals.
    return sorted(dict.fromkeys(methods), key=lambda name: places.get(name, 1.5))


def variants_in_order(methods: Iterable[str], experiment: str = "") -> list[str]:
    """Return the methods of an experiment in order; numbers of regions stand by their number."""
    ordered = in_method_order(methods)
    if experiment != "ablation_regions":
        return ordered

    return sorted(ordered, key=lambda name: method_label(name, experiment))
