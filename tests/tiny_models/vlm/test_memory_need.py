"""The computed memory of a map is what autograd saves, for the ratios of all four checkpoints."""

from contextlib import nullcontext

import pytest
import torch
from PIL import Image

from entropy_grounding.profiling.random_vlm import SHAPES, Shape, random_vlm, shaped
from entropy_grounding.vlm.contexts import eager
from entropy_grounding.vlm.memory import (
    Loop,
    allocatable,
    bytes_in,
    cache_bytes,
    checkpointed_map_bytes,
    fitting,
    map_bytes,
    memory_need,
    prompt_length,
    weights_bytes,
)
from support.families import GEOMETRIES, Case

WIDTH, LAYERS = 32, 3  # of a head; of the language model
HEADS = {  # query and key heads in the ratio of the released ones
    "llava_1_5_7b": (8, 8),
    "llava_1_6_mistral_7b": (8, 2),
    "internvl3_5_8b": (8, 2),
    "qwen2_5_vl_7b": (14, 2),
}
DTYPES = (torch.float32, torch.bfloat16)


def small(name):
    """Return the shape of a checkpoint, narrower in all its widths, with few layers."""
    shape, (heads, key_heads) = SHAPES[name], HEADS[name]
    hidden = heads * WIDTH
    text = {
        **shape.text,
        "hidden_size": hidden,
        "intermediate_size": hidden * shape.text["intermediate_size"] // shape.text["hidden_size"],
        "num_hidden_layers": LAYERS,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "head_dim": WIDTH,
        "vocab_size": 2000,
    }
    vision = {"hidden_size": 64, "intermediate_size": 128}
    if shape.family == "qwen2_5_vl":
        text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": [4, 6, 6]}
        own = {"num_heads": 4, "depth": 2, "out_hidden_size": hidden, "fullatt_block_indexes": [1]}
        return Shape(shape.family, text, vision | own, shape.options)

    few = {"num_hidden_layers": 2, "num_attention_heads": 4}
    return Shape(shape.family, text, shape.vision | vision | few, shape.options)


class Saved:
    """Count the bytes that autograd saves, each storage once, without the weights."""

    def __init__(self, model):
        self.weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
        self.kept = {}

    def keep(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.kept[storage.data_ptr()] = tensor  # held, so that no place is used again
        return tensor

    def of(self, run):
        with torch.autograd.graph.saved_tensors_hooks(self.keep, lambda tensor: tensor):
            run()
        return sum(tensor.untyped_storage().nbytes() for tensor in self.kept.values())


@pytest.fixture(scope="module", params=SHAPES)
def name(request):
    return request.param


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def vlm(request, name):
    return random_vlm(small(name), dtype=request.param)


@pytest.fixture(scope="module")
def prompts(vlm):
    """Return the prompt of an image, and the one with a crop."""
    picture = vlm.encode(Image.new("RGB", (224, 224), "gray"))
    return tuple(vlm.prompt("What is it?", [picture] * count) for count in (1, 2))


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_graph_of_a_map_is_as_large_as_computed(vlm, prompts, kernel):
    prompt, _ = prompts
    with eager(vlm.model.get_decoder()) if kernel == "eager" else nullcontext():
        real = Saved(vlm.model).of(lambda: vlm.run([prompt], keep=True))
    computed = map_bytes(vlm.model.config, vlm.model.dtype, prompt.length, kernel=kernel)
    assert computed == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("family", GEOMETRIES)
def test_the_graph_of_every_family_is_as_large_as_computed(family):
    build, variants, sizes = GEOMETRIES[family]
    case = Case(family, build, variants[0], sizes[0])
    vlm = case.vlm()
    vlm.model.requires_grad_(False)
    prompt = vlm.prompt("what is it ?", [vlm.encode(case.image())])
    real = Saved(vlm.model).of(lambda: vlm.run([prompt], keep=True))
    computed = map_bytes(vlm.model.config, vlm.model.dtype, prompt.length)
    assert computed == pytest.approx(real, rel=0.05)


def test_the_graph_behind_a_kept_image_is_as_large_as_computed(vlm, prompts):
    plain, prompt = prompts
    kept = vlm.run([plain], graph=False, keep=True)
    real = Saved(vlm.model).of(lambda: vlm.continue_from(kept, prompt))

    start = vlm.first_picture_end(prompt)
    new = prompt.length - start
    computed = map_bytes(vlm.model.config, vlm.model.dtype, new, start=start)
    assert computed == pytest.approx(real, rel=0.1)


def test_a_checkpointed_map_keeps_the_inputs_and_one_layer_at_a_time(vlm, prompts):
    _, prompt = prompts
    config, dtype = vlm.model.config, vlm.model.dtype
    vlm.checkpointing = "on"
    saved = Saved(vlm.model)
    real = saved.of(lambda: vlm.run([prompt]))
    vlm.checkpointing = "off"

    whole = map_bytes(config, dtype, prompt.length)
    inputs = prompt.length * dtype.itemsize * config.get_text_config().hidden_size * LAYERS
    once = prompt.length * (4 * config.get_text_config().hidden_size)
    assert inputs + once == pytest.approx(real, rel=0.1)
    assert checkpointed_map_bytes(config, dtype, prompt.length) == pytest.approx(
        inputs + whole / LAYERS, rel=0.1
    )


def test_keys_and_values_are_as_large_as_computed(vlm, prompts):
    plain, _ = prompts
    cache = vlm.run([plain], graph=False, keep=True).cache
    real = bytes_in([cache, cache])  # one cache twice counts once
    assert real == cache_bytes(vlm.model.config, vlm.model.dtype, plain.length)


def test_the_largest_prompt_is_counted_without_weights(vlm, prompts):
    loop = Loop((224, 224), crops=1, rounds=3, question="What is it?")
    config, dtype = vlm.model.config, vlm.model.dtype
    plain, prompt = (prompt.length for prompt in prompts)
    assert prompt_length(vlm.processor, vlm.family, loop, 0) == plain

    need = memory_need(config, vlm.processor, vlm.family, dtype, loop)
    real = sum(each.numel() * each.element_size() for each in vlm.model.parameters())
    assert need.positions == prompt
    assert need.weights == pytest.approx(real / 1e9)
    assert need.map == map_bytes(config, dtype, prompt) / 1e9
    assert need.caches == cache_bytes(config, dtype, plain + prompt) / 1e9
    assert need.all_caches == cache_bytes(config, dtype, plain + 3 * prompt) / 1e9
    assert need.least < need.usual


def test_free_memory_counts_what_the_allocator_keeps():
    """After some examples the driver has 2 of 80 GB free, and the allocator 60 of its 78."""
    assert allocatable(driver_free=2, reserved=78, allocated=18) == 62


def test_the_options_that_fit_are_named_the_mildest_first(vlm):
    about = vlm.model.config, vlm.processor, vlm.family, vlm.model.dtype
    loop = Loop((600, 400), crops=3)
    need = memory_need(*about, loop)
    assert fitting(*about, need.usual, loop) == ("", need.weights + need.map + need.caches)
    assert fitting(*about, need.least, loop) == ("vlm.checkpointing=on", need.least)
    assert fitting(*about, 0.0, loop) is None

    eight = weights_bytes(vlm.model.config, vlm.model.dtype, "8bit") / 1e9
    assert eight < need.weights
    options, needed = fitting(*about, need.least - 1e-9, loop)
    assert options.startswith("vlm.checkpointing=on ")
    assert needed < need.least


def test_an_output_layer_that_only_the_text_configuration_names_is_counted():
    config, _, _ = shaped(small("internvl3_5_8b"))
    untied = weights_bytes(config, torch.bfloat16)

    config.tie_word_embeddings = True  # the default, which the released file leaves
    assert not config.text_config.tie_word_embeddings
    assert weights_bytes(config, torch.bfloat16) == untied

    config.text_config.tie_word_embeddings = True
    head = config.text_config.vocab_size * config.text_config.hidden_size
    assert weights_bytes(config, torch.bfloat16) == untied - 2 * head
