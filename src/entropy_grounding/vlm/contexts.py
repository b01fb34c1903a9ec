"""Changes of a model that last for a block and are undone on the way out.

Visual tokens enter a model through ``mm_encoder_outputs``, an argument of its own, so no hook is
needed for the paper's map. The functions here change a model's flags, kernel or layers, and
`at_layer` adds one hook for the gradient at a decoder layer. All of them restore what they found.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

import torch
import torch.utils.checkpoint
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from entropy_grounding.core.errors import InputError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_RECORDING = "_output_capturing_hooks_installed"  # set by transformers with its own forward hooks
_HALF_SCALE = 2.0**10  # keeps float16 gradients away from zero on their way through the model
_FROZEN: WeakSet[PreTrainedModel] = WeakSet()  # models inside `frozen`


# --- Gradients ---


def own_gradients(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a method under its own choice of gradients, whatever mode its caller is in.

    The caller may be inside ``torch.no_grad`` or ``torch.inference_mode``.
    """

    @wraps(method)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.inference_mode(False), torch.enable_grad():
            return method(*args, **kwargs)

    return run


def differentiate(value: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of a scalar with respect to tensors, each in the shape of its tensor.

    Gradients of float16 tensors are scaled on their way, and come back in float32.
    """
    if inputs[0].dtype != torch.float16:
        return torch.autograd.grad(value, inputs)

    scaled = torch.autograd.grad(value * _HALF_SCALE, inputs)
    return tuple(gradient.float() / _HALF_SCALE for gradient in scaled)


@contextmanager
def frozen(model: PreTrainedModel) -> Iterator[None]:
    """Switch off parameter gradients, dropout and other training behaviour for a block.

    Every flag is restored on the way out. Hooks that transformers installs during a forward pass
    (to record hidden states) are removed too. Inside another such block nothing is done: walking
    through the modules of a tiny model takes longer than one of its layers.
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


@contextmanager
def checkpointed(layers: Any) -> Iterator[None]:
    """Let decoder layers keep only their inputs for a block, and run again in the backward pass.

    The modules inside the layers stay out of training mode.
    """
    checkpoint = partial(torch.utils.checkpoint.checkpoint, use_reentrant=False)
    for layer in layers:
        layer.gradient_checkpointing = True
        layer.training = True
        layer._gradient_checkpointing_func = checkpoint
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = False
            layer.training = False
            del layer._gradient_checkpointing_func


@contextmanager
def at_layer(layer: torch.nn.Module, places: Tensor) -> Iterator[list[Tensor]]:
    """Let the gradient end at the inputs of a decoder layer for a block.

    Args:
        layer: the decoder layer.
        places: which positions hold visual tokens, bool ``(positions,)``.

    Yields:
        A list that receives the leaf, the layer's inputs at these positions ``(tokens, dim)``,
        during the forward pass.
    """
    leaves: list[Tensor] = []

    def begin(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        leaf = inputs[0][0, places].detach().requires_grad_()
        leaves.append(leaf)

        hidden = inputs[0].detach().clone()
        hidden[0, places] = leaf
        return (hidden, *inputs[1:])

    handle = layer.register_forward_pre_hook(begin)
    try:
        yield leaves
    finally:
        handle.remove()


# --- The language model ---


@contextmanager
def eager(language_model: PreTrainedModel) -> Iterator[None]:
    """Let a language model compute its attention weights explicitly for a block."""
    before = language_model.config._attn_implementation
    language_model.set_attn_implementation("eager")
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


@contextmanager
def first_layers(model: Any, count: int | None) -> Iterator[None]:
    """Let a language model run only its first decoder layers for a block, then norm and head.

    Args:
        model: the model.
        count: number of layers; None for all.

    Raises:
        InputError: for more layers than the model has.
    """
    decoder = model.get_decoder()
    layers = decoder.layers
    if count is not None and count > len(layers):
        raise InputError(f"method.decoder_layers is {count}: this model has {len(layers)}.")

    decoder.layers = layers[:count]
    try:
        yield
    finally:
        decoder.layers = layers


@contextmanager
def neutral_generation(model: Any) -> Iterator[None]:
    """Let a model generate greedily for a block, whatever its checkpoint brought along.

    Penalties, forbidden or forced tokens and least lengths would make the answer follow another
    distribution than the one whose entropy is measured. Only the tokens that begin, end and pad a
    text are kept.
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


# --- The processor ---


@contextmanager
def pixels_scaled(processor: Any, factor: float) -> Iterator[bool]:
    """Multiply the budget of pixels or tiles per picture for a block.

    Args:
        processor: the processor of a VLM.
        factor: of the budget.

    Yields:
        False for a family without a budget, and if none would be left.
    """
    images = processor.image_processor
    scaled = _scaled_budget(images, factor)
    if not scaled:
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


def counts_pixels(image_processor: Any) -> bool:
    """Tell whether the size of pictures is a least and a most number of pixels.

    Under the same names, SmolVLM has one longest edge, and LLaVA-1.5 one shortest.
    """
    size = image_processor.size or {}
    return "shortest_edge" in size and "longest_edge" in size


def _scaled_budget(images: Any, factor: float) -> dict[str, Any]:
    """Return the attributes that hold the budget of an image processor, multiplied.

    They are empty if there is no budget.
    """
    if counts_pixels(images):
        edges = ("shortest_edge", "longest_edge")
        return {"size": {edge: int(images.size[edge] * factor) for edge in edges}}

    tiles = getattr(images, "max_patches", 0)
    if int(tiles * factor) >= 1 and tiles > 1:
        names = ("min_patches", "max_patches")
        return {name: max(1, int(getattr(images, name) * factor)) for name in names}

    return {}
