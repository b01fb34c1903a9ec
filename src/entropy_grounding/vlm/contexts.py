"""Changes of a model that are undone on the way out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

import torch.utils.checkpoint
from transformers import GenerationConfig, PreTrainedModel

from entropy_grounding.vlm.model import VLM

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_RECORDING = "_output_capturing_hooks_installed"  # set by transformers with its own forward hooks

_FROZEN: WeakSet[PreTrainedModel] = WeakSet()  # models inside `frozen`


def own_gradients(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a method under its own choice of gradients, whatever mode the caller is in (``no_grad``, ``inference_mode``)."""

    @wraps(method)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.inference_mode(False), torch.enable_grad():
            return method(*args, **kwargs)

    return run


@contextmanager
def eager(language_model: PreTrainedModel) -> Iterator[None]:
    """Let a language model compute attention weights explicitly for a while."""
    before = language_model.config._attn_implementation
    language_model.set_attn_implementation("eager")
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


@contextmanager
def checkpointed(layers: Any) -> Iterator[None]:
    """Let decoder layers keep only their inputs for a while; what is inside them stays out of training mode."""
    checkpoint = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False)
    for layer in layers:
        layer.gradient_checkpointing, layer.training, layer._gradient_checkpointing_func = (
            True,
            True,
            checkpoint,
        )
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing, layer.training = False, False
            del layer._gradient_checkpointing_func


@contextmanager
def neutral_generation(model: Any) -> Iterator[None]:
    """Let a model generate plainly for a while: the most likely token each time, whatever its checkpoint brought along.

    Penalties, forbidden or forced tokens and least lengths would make the answer follow another distribution than the one whose entropy is
    measured. Only the tokens that begin, end and pad a text are kept.
    """
    before = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=before.bos_token_id,
        eos_token_id=before.eos_token_id,
        pad_token_id=before.pad_token_id,
        do_sample=False,
    )
    try:
        yield
    finally:
        model.generation_config = before


@contextmanager
def pixels_scaled(vlm: VLM, factor: float) -> Iterator[bool]:
    """Multiply the budget of pixels or tiles of a picture for a while; False for a family without one, or when none would be left."""
    images = vlm.processor.image_processor
    if "longest_edge" in (images.size or {}):
        scaled: dict[str, Any] = {
            "size": {
                edge: int(images.size[edge] * factor) for edge in ("shortest_edge", "longest_edge")
            }
        }
    elif int(getattr(images, "max_patches", 0) * factor) >= 1 and images.max_patches > 1:
        scaled = {
            name: max(1, int(getattr(images, name) * factor))
            for name in ("min_patches", "max_patches")
        }
    else:
        yield False
        return
    before = {name: getattr(images, name) for name in scaled}
    for name, value in scaled.items():
        setattr(images, name, value)
    try:
        yield True
    finally:
        for name, value in before.items():
            setattr(images, name, value)


@contextmanager
def frozen(model: PreTrainedModel) -> Iterator[None]:
    """Switch off parameter gradients, dropout and other training behaviour; every flag is restored on the way out.

    Hooks that transformers installs for itself during a forward (to record hidden states) are taken off again too. Within another such
    block nothing is left to do, and nothing is done: walking through a model's modules takes longer than a tiny model's layer.
    """
    if model in _FROZEN:
        yield
        return
    _FROZEN.add(model)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = [module for module in model.modules() if module.training]
    hooks = {module: set(module._forward_hooks) for module in model.modules()}
    recording = {module for module in hooks if hasattr(module, _RECORDING)}
    for parameter in trainable:
        parameter.requires_grad_(False)
    for module in training:
        module.training = False
    try:
        yield
    finally:
        _FROZEN.discard(model)
        for parameter in trainable:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
        for module, before in hooks.items():
            for new in set(module._forward_hooks) - before:
                del module._forward_hooks[new]
            if hasattr(module, _RECORDING) and module not in recording:
                delattr(module, _RECORDING)
