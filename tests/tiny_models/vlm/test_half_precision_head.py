"""Logits of half-precision models come from a float32 output layer, and 8-bit is quiet."""

import ast
import inspect
import logging

import accelerate
import pytest
import torch

from entropy_grounding.core.environment import environment_of
from entropy_grounding.evaluation.config import DEFAULTS
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.vlm import model as model_module
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.head import _ROWS, float32_head, float32_logits
from entropy_grounding.vlm.load import load_vlm

FAMILIES = ("llava", "llava_next", "internvl", "qwen2_5_vl")
HALF = ("bfloat16", "float16")


def half_vlm(family, dtype="bfloat16"):
    """A tiny VLM in half precision whose logits are as large as those of a real one."""
    vlm = load_vlm(VLMConfig(name="half", weights=f"tiny:{family}", dtype=dtype))
    with torch.no_grad():
        vlm.model.get_output_embeddings().weight.mul_(4)
    return vlm


def heard(vlm, run):
    """Return what ``run`` returns, and the hidden states that the output layer was given."""
    hidden = []
    head = vlm.model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0].detach()))
    try:
        return run(), hidden
    finally:
        handle.remove()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_entropy_is_that_of_a_float32_head_on_the_same_hidden_state(scene, family, dtype):
    vlm = half_vlm(family, dtype)
    image, question = scene
    prompt = vlm.prompt(question.text, [vlm.encode(image)])

    done, (hidden,) = heard(vlm, lambda: vlm.run([prompt], graph=False))
    weight = vlm.model.get_output_embeddings().weight
    exact = hidden[0, -1].double() @ weight.double().T
    coarse = hidden[0, -1] @ weight.T

    assert done.logits.dtype == torch.float32
    expected = float(next_token_entropy(exact))
    assert abs(float(next_token_entropy(done.logits[0])) - expected) < 1e-4
    # The model's own logits have coarse steps: they are further away.
    error = (coarse.double() - exact).abs().max()
    assert (done.logits[0].double() - exact).abs().max() < error / 100


def test_every_way_to_run_a_prompt_gives_the_same_logits(scene):
    vlm = half_vlm("llava")
    image, question = scene
    prompt = vlm.prompt(question.text, [vlm.encode(image)])
    logits = vlm.run([prompt]).logits[0]

    assert logits.equal(vlm.logits(prompt))
    assert logits.equal(vlm.run([prompt], every_position=True).logits[0])
    assert logits.equal(vlm.run_from_layer(prompt, 0).logits[0])
    assert vlm.attention(prompt).logits.dtype == torch.float32


def test_the_gradient_goes_through_the_float32_head(scene):
    """Against the same computation with a model whose output layer is float32 itself."""
    vlm = half_vlm("llava")
    image, question = scene
    prompt = vlm.prompt(question.text, [vlm.encode(image)])
    found = vlm.gradient(prompt, next_token_entropy).gradients

    head = vlm.model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().float())  # not that of the embeddings
    handle = head.register_forward_pre_hook(lambda _, inputs: inputs[0].float())
    expected = vlm.gradient(prompt, next_token_entropy).gradients
    handle.remove()
    assert torch.allclose(found, expected, rtol=0.02, atol=float(expected.abs().max()) / 500)


def test_the_answer_follows_the_distribution_whose_entropy_is_measured(scene):
    vlm = half_vlm("llava")
    image, question = scene
    prompt = vlm.prompt(question.text, [vlm.encode(image)])
    done = vlm.run([prompt], graph=False, keep=True)
    first = vlm._greedy(prompt, 1)
    assert int(first[0]) == int(done.logits[0].argmax())


@pytest.mark.parametrize("words", [7, _ROWS, _ROWS + 3])
def test_parts_of_the_vocabulary_give_the_whole(words):
    torch.manual_seed(0)
    head = torch.nn.Linear(16, words, bias=True, dtype=torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(2, 3, 16, dtype=torch.bfloat16, requires_grad=True)
    logits = float32_logits(hidden, head)
    expected = hidden.float() @ head.weight.float().T + head.bias.float()
    assert torch.allclose(logits, expected, atol=1e-6)

    weights = torch.randn_like(logits)
    (found,) = torch.autograd.grad((logits * weights).sum(), hidden)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), hidden)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found, wanted, rtol=0.02, atol=0.02)


def test_only_the_last_position_is_computed_in_float32(scene):
    vlm = half_vlm("llava")
    head = vlm.model.get_output_embeddings()
    with float32_head(vlm.model):
        assert head(torch.zeros(1, 50, head.in_features, dtype=torch.bfloat16)).shape[1] == 1


def test_the_model_is_given_back_as_it_was(scene):
    vlm = half_vlm("llava")
    head = vlm.model.get_output_embeddings()
    before = dict(head.__dict__)
    image, question = scene
    prompt = vlm.prompt(question.text, [vlm.encode(image)])
    vlm.gradient(prompt, next_token_entropy)
    vlm.generate(prompt, max_new_tokens=2)
    assert head.__dict__ == before
    with pytest.raises(RuntimeError), float32_head(vlm.model):
        raise RuntimeError
    assert head.__dict__ == before


def test_offloaded_weights_are_brought_first(scene):
    """accelerate keeps them elsewhere, and puts them in place for each call."""
    vlm = half_vlm("llava")
    image, question = scene
    prompt = vlm.prompt(question.text, [vlm.encode(image)])
    expected = vlm.run([prompt], graph=False).logits

    head = vlm.model.get_output_embeddings()
    accelerate.cpu_offload(head, execution_device=torch.device("cpu"))
    assert head.weight.device.type == "meta"
    assert vlm.run([prompt], graph=False).logits.equal(expected)
    assert head.weight.device.type == "meta"


def test_a_float32_model_is_not_touched(tiny_vlm):
    head = tiny_vlm.model.get_output_embeddings()
    before = dict(head.__dict__)
    with float32_head(tiny_vlm.model):
        assert head.__dict__ == before


def test_every_call_of_the_model_has_the_float32_head():
    """Another call of ``self.model(...)`` than that of `VLM._forward` would have coarse logits."""
    tree = ast.parse(inspect.getsource(model_module))
    callers = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            callers += [function.name for call in calls if ast.unparse(call.func) == "self.model"]
    assert callers == ["_forward"]


def test_the_data_type_is_part_of_the_identity(tiny_vlm):
    """So rows of half precision are never mixed with those of float32."""
    assert DEFAULTS["vlm"]["dtype"] == "auto"
    assert environment_of(tiny_vlm)["dtype"] == "float32"


# --- 8-bit ---


@pytest.mark.parametrize("family", FAMILIES)
def test_towers_and_output_layer_are_not_quantised(family):
    pytest.importorskip("bitsandbytes")
    vlm = load_vlm(VLMConfig(name="x", weights=f"tiny:{family}", quantization="8bit", device="cpu"))
    kinds = {name: type(module).__name__ for name, module in vlm.model.named_modules()}
    quantised = [name for name, kind in kinds.items() if kind == "Linear8bitLt"]
    assert quantised
    assert all(name.startswith("model.language_model.") for name in quantised)


def test_eight_bit_layers_say_nothing_during_our_calls(scene, caplog):
    pytest.importorskip("bitsandbytes")
    vlm = load_vlm(
        VLMConfig(name="x", dtype="bfloat16", quantization="8bit", device="cpu", checkpointing="on")
    )
    image, question = scene
    log = logging.getLogger("bitsandbytes.autograd._functions")
    filters = list(log.filters)
    level = log.level

    with caplog.at_level(logging.WARNING):
        prompt = vlm.prompt(question.text, [vlm.encode(image)])
        vlm.gradient(prompt, next_token_entropy)
        vlm.generate(prompt, max_new_tokens=2)
        vlm.answer_loss(question.text, [vlm.encode(image)], "A")
    assert "MatMul8bitLt" not in caplog.text
    assert (log.filters, log.level) == (filters, level)

    # The caller hears the line in calls of its own, and other lines always.
    with caplog.at_level(logging.WARNING):
        layer = vlm.model.get_decoder().layers[0].mlp.up_proj
        layer(torch.zeros(1, 2, layer.in_features, dtype=torch.bfloat16))
    assert "inputs will be cast" in caplog.text
