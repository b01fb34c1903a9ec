"""The VLM class on real ``transformers`` models with few weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaConfig

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.tiny.architectures import Size, build_llava
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.llava import LlavaFamily
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.memory import map_bytes, weights_bytes
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.processors import padded
from support.families import CASES

CROP = Box(10, 20, 80, 60)


def unit(vectors):
    return vectors / vectors.norm()


@pytest.fixture
def prompt(random_vlm, scene):
    image, question = scene
    return random_vlm.prompt(
        question.text, [random_vlm.encode(image), random_vlm.encode(image, CROP)]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_prompt_is_what_the_processor_makes_of_text_and_pictures(case):
    vlm, image = case.vlm(), case.image()
    pictures = [
        vlm.encode(image),
        vlm.encode(image, Box(3, 5, 40, 50)),
        vlm.encode(image, Box(10, 10, 60, 30)),
    ]
    for answer in ("", "red A"):
        text = vlm.chat_text("What does it say?\nAnswer.", 3, answer)
        made = vlm.processor(
            text=text, images=[picture.image for picture in pictures], return_tensors="pt"
        )
        expected = {name: value for name, value in made.items() if not name.startswith("pixel")}
        prepared = vlm.prepared("What does it say?\nAnswer.", pictures, answer)
        assert expected.keys() == prepared.keys()
        assert all(expected[name].equal(prepared[name]) for name in expected)


@pytest.mark.parametrize("crops", [[], [CROP], [CROP, Box(100, 100, 256, 256)]])
def test_logits_equal_the_ordinary_forward_from_pixels(random_vlm, scene, crops):
    image, question = scene
    prompt = random_vlm.prompt(
        question.text, [random_vlm.encode(image), *(random_vlm.encode(image, box) for box in crops)]
    )
    pictures = [image, *(image.crop(box.xyxy()) for box in crops)]
    inputs = random_vlm.processor(text=prompt.text, images=pictures, return_tensors="pt")
    random_vlm.model.eval()
    with torch.no_grad():
        expected = random_vlm.model(**inputs).logits[0, -1]
        torch.testing.assert_close(random_vlm.logits(prompt), expected, atol=1e-5, rtol=0)


def test_gradient_matches_finite_differences(random_vlm, prompt):
    """Central differences; norm layers stay in float32, hence the tolerance.

    A random direction is nearly orthogonal to the gradient, so each is tilted towards it: a wrong
    gradient then shows.
    """
    found = random_vlm.gradient(prompt, next_token_entropy)
    generator = torch.Generator().manual_seed(0)
    random_vlm.model.eval()
    for _ in range(4):
        direction = unit(found.gradients) + unit(
            torch.randn(found.embeddings.shape, generator=generator)
        )
        step = 1e-2 * found.embeddings.norm() / direction.norm()
        with torch.no_grad():
            up = next_token_entropy(
                random_vlm.logits(prompt, found.embeddings + step * direction).double()
            )
            down = next_token_entropy(
                random_vlm.logits(prompt, found.embeddings - step * direction).double()
            )
        exact = (found.gradients * direction).sum().double()
        assert abs(exact - (up - down) / (2 * step)) < 1e-2 * abs(exact)


def test_gradient_agrees_with_captum(random_vlm, prompt):
    """Captum differentiates the same scalar on its own."""
    found = random_vlm.gradient(prompt, next_token_entropy)
    random_vlm.model.eval()
    saliency = Saliency(
        lambda tokens: next_token_entropy(random_vlm.logits(prompt, tokens[0])).reshape(1)
    )
    theirs = saliency.attribute(found.embeddings[None].requires_grad_(), abs=False)[0]
    random_vlm.model.zero_grad()
    torch.testing.assert_close(found.gradients, theirs.detach(), atol=1e-7, rtol=1e-4)


def test_every_visual_token_has_one_gradient_and_parameters_have_none(random_vlm, prompt):
    found = random_vlm.gradient(prompt, next_token_entropy)
    assert found.gradients.shape == found.embeddings.shape == (128, 32)
    assert (found.gradients.norm(dim=-1) > 0).all()
    assert all(parameter.grad is None for parameter in random_vlm.model.parameters())


def state_of(model):
    hooks = sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )
    return (
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        hooks,
    )


@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_returned_as_found(scene, failing):
    image, question = scene
    model, processor = build_llava(Size(32, 1, 1))
    vlm = VLM(model, processor, LlavaFamily())
    model.train()
    model.lm_head.requires_grad_(False)
    before = state_of(model)
    prompt = vlm.prompt(question.text, [vlm.encode(image)])

    def broken(logits):
        raise KeyError("target")

    if failing:
        with pytest.raises(KeyError):
            vlm.gradient(prompt, broken)
    else:
        vlm.gradient(prompt, next_token_entropy)
        vlm.generate(prompt, max_new_tokens=2)
    assert state_of(model) == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_without_gradients_is_refused(random_vlm, prompt, monkeypatch):
    monkeypatch.setattr(
        random_vlm, "_call", lambda *_, **__: SimpleNamespace(logits=torch.zeros(1, 1, 5))
    )
    with pytest.raises(InputError, match="passes no gradient to its visual tokens"):
        random_vlm.gradient(prompt, next_token_entropy)


def test_a_kernel_without_backward_is_refused(random_vlm, prompt):
    class OneWay(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            return logits.sum()

        @staticmethod
        def backward(ctx, gradient):
            raise NotImplementedError("no backward here")

    with pytest.raises(InputError, match="no backward here"):
        random_vlm.gradient(prompt, OneWay.apply)


def test_an_image_placeholder_in_the_question_is_refused(random_vlm, scene):
    with pytest.raises(InputError, match="holds '<image>'"):
        random_vlm.prompt("What is <image>?", [random_vlm.encode(scene[0])])


def test_a_prompt_beyond_the_context_is_refused(random_vlm, scene):
    picture = random_vlm.encode(scene[0])
    with pytest.raises(InputError, match=r"40 pictures has 26\d\d tokens, more than the 2048"):
        random_vlm.prompt("What?", [picture] * 40)


def test_nan_weights_are_refused(scene):
    image, question = scene
    model, processor = build_llava(Size(32, 1, 1))
    torch.nn.init.constant_(model.model.multi_modal_projector.linear_2.weight, float("nan"))
    vlm = VLM(model, processor, LlavaFamily())
    with pytest.raises(InputError, match="NaN or infinite logits"):
        vlm.gradient(vlm.prompt(question.text, [vlm.encode(image)]), next_token_entropy)


def test_bfloat16_gives_the_same_map(tiny_vlm, scene):
    image, question = scene
    half = load_vlm(VLMConfig(dtype="bfloat16"))
    norms = []
    for vlm in (tiny_vlm, half):
        found = vlm.gradient(vlm.prompt(question.text, [vlm.encode(image)]), next_token_entropy)
        norms.append(found.gradients.float().norm(dim=-1))
    assert torch.cosine_similarity(norms[0], norms[1], dim=0) > 0.95


def test_a_planted_patch_moves_only_the_tokens_whose_cells_it_meets(random_vlm):
    """At the patch embedding, before attention mixes tokens.

    The picture is padded, so rows are offset.
    """
    image = Image.new("RGB", (256, 128), "gray")
    planted = image.copy()
    planted.paste((255, 0, 0), (96, 32, 128, 64))
    (view,) = random_vlm.encode(image).views
    (embed,) = [
        module
        for name, module in random_vlm.model.named_modules()
        if name.endswith("patch_embedding")
    ]
    tokens = [
        embed(random_vlm.processor.image_processor([p], return_tensors="pt")["pixel_values"])[0]
        for p in (image, planted)
    ]
    moved = (tokens[0] - tokens[1]).abs().amax(0).detach().numpy() > 0.2
    rows, cols = view.shape
    meets = np.array(
        [
            [
                view.cell_box((r, c, r + 1, c + 1)).intersection(Box(96, 32, 128, 64)) is not None
                for c in range(cols)
            ]
            for r in range(rows)
        ]
    )
    assert (moved == meets).all()


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((256, 256), (0, 0, 256, 256)),
        ((200, 100), (0, -50, 200, 150)),
        ((90, 120), (-15, 0, 105, 120)),
    ],
)
def test_padding_reaches_outside_the_image(random_vlm, size, box):
    (view,) = random_vlm.encode(Image.new("RGB", size)).views
    assert view.box.xyxy() == box


def test_views_of_a_crop_lie_where_the_crop_lies(random_vlm, scene):
    (view,) = random_vlm.encode(scene[0], CROP).views
    assert view.box.center == CROP.center
    assert view.box.width == view.box.height == 70


@pytest.mark.parametrize(
    ("size", "box"), [((100, 50), (25, 0, 75, 50)), ((50, 100), (0, 25, 50, 75))]
)
def test_the_hub_port_sees_only_the_central_square(size, box):
    model, processor = build_llava(Size(32, 1, 1))
    processor.image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    vlm = VLM(model, processor, LlavaFamily())
    (view,) = vlm.encode(Image.new("RGB", size)).views
    assert view.box.xyxy() == box
    processor.image_processor = padded(processor)
    (view,) = vlm.encode(Image.new("RGB", size)).views
    assert view.box.width == view.box.height == 100


def test_a_processor_without_chat_template_is_refused():
    model, processor = build_llava(Size(32, 1, 1))
    processor.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        VLM(model, processor, LlavaFamily(), "mute")


def test_saved_weights_load_by_folder(tmp_path, scene):
    from entropy_grounding.tiny.train import save_release

    model, processor = build_llava(Size(32, 1, 1))
    save_release(model, processor, tmp_path)
    vlm = load_vlm(VLMConfig(weights=str(tmp_path)))
    assert not any(parameter.requires_grad for parameter in vlm.model.parameters())
    answer = vlm.generate(vlm.prompt("What?", [vlm.encode(scene[0])]), max_new_tokens=2)
    assert isinstance(answer.text, str)


@pytest.mark.parametrize(
    "missing", ["model.safetensors", "config.json", "tokenizer.json", "processor_config.json"]
)
def test_a_folder_without_a_file_is_refused(tmp_path, missing):
    from entropy_grounding.tiny.train import save_release

    save_release(*build_llava(Size(32, 1, 1)), tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=missing):
        load_vlm(VLMConfig(weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("Other", "Other of '.*' is not supported: "),
        ("Gemma3ForConditionalGeneration", "not supported .its prompts mark a picture .*: "),
    ],
)
def test_unsupported_architectures_are_named(tmp_path, architecture, why):
    from entropy_grounding.tiny.train import save_release

    save_release(*build_llava(Size(32, 1, 1)), tmp_path)
    config = tmp_path / "config.json"
    named = config.read_text().replace("LlavaForConditionalGeneration", architecture)
    config.write_text(named)
    with pytest.raises(InputError, match=f"{why}supported are LlavaForConditionalGeneration"):
        load_vlm(VLMConfig(weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (
            VLMConfig(weights="tiny:unheard_of"),
            "No tiny weights 'tiny:unheard_of': this repository has tiny:internvl, tiny:llava",
        ),
        (VLMConfig(weights="./nowhere"), "No weights folder at './nowhere'"),
        (VLMConfig(image_fit="squeeze"), "Unknown image_fit 'squeeze'"),
        (VLMConfig(dtype="float8"), "Unknown dtype 'float8'"),
        (
            VLMConfig(grounding="thumbnail"),
            "Unknown grounding 'thumbnail' for Llava.*: use default, all, image",
        ),
        (
            VLMConfig(quantization="2bit"),
            "Unknown quantization '2bit': did you mean '8bit'",
        ),
        (VLMConfig(max_tiles=0), "vlm.max_tiles is 0: a picture would have no visual token"),
        (VLMConfig(max_pixels=0), "vlm.max_pixels is 0: a picture would have no visual token"),
        pytest.param(
            VLMConfig(device="cuda"),
            "torch sees no GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU"),
        ),
    ],
)
def test_bad_sources_are_named(config, complaint):
    with pytest.raises(InputError, match=complaint):
        load_vlm(config)


def test_an_unreachable_hub_says_how_to_fetch_ahead(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="hf download nobody/nothing-here --local-dir"):
        load_vlm(VLMConfig(name="x", weights="nobody/nothing-here"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
@pytest.mark.parametrize(
    ("quantization", "installed", "complaint"),
    [("8bit", False, "needs bitsandbytes"), ("4bit", True, "needs a GPU")],
)
def test_quantisation_that_cannot_work_is_refused(monkeypatch, quantization, installed, complaint):
    monkeypatch.setattr("entropy_grounding.vlm.load.is_bitsandbytes_available", lambda: installed)
    with pytest.raises(InputError, match=complaint):
        load_vlm(VLMConfig(quantization=quantization))


def test_eight_bit_weights_give_nearly_the_same_map(tiny_vlm, scene):
    pytest.importorskip("bitsandbytes")
    image, question = scene
    quantised = load_vlm(VLMConfig(quantization="8bit", device="cpu"))
    assert any(type(module).__name__ == "Linear8bitLt" for module in quantised.model.modules())
    prompts = [vlm.prompt(question.text, [vlm.encode(image)]) for vlm in (tiny_vlm, quantised)]
    exact = tiny_vlm.gradient(prompts[0], next_token_entropy).gradients.norm(dim=-1)
    rounded = quantised.gradient(prompts[1], next_token_entropy).gradients.norm(dim=-1)
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.95


def test_memory_is_estimated_from_the_configuration():
    """LLaVA-1.5 7B, the class default: 7.06 billion weights of 2 bytes, 32 layers of width 4096."""
    config = LlavaConfig()
    assert weights_bytes(config, torch.bfloat16) / 1e9 == pytest.approx(14.1, abs=0.1)
    # Two norms in float32, queries, keys, values and output, three of 11,008, a sum for each head.
    layer = 8 * 4097 + 2 * (4 * 4096 + 3 * 11_008) + 4 * 32
    assert map_bytes(config, torch.bfloat16, 1000) == 1000 * (32 * layer + 4 * 4097 + 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_large_model_on_a_cpu_is_warned_of_before_it_loads(monkeypatch):
    """The tiny VLM stands in for a large one by a lower limit."""
    monkeypatch.setattr("entropy_grounding.vlm.memory.LARGE", 0.001)
    with pytest.warns(
        UserWarning,
        match="'tiny_llava' runs on the CPU: about 0 GB of weights in bfloat16, 0.0 GB",
    ):
        load_vlm(VLMConfig(dtype="bfloat16"))


@pytest.mark.parametrize(
    "error", [ValueError("absolute aspect ratio must be smaller than 200"), None]
)
def test_a_picture_without_visual_tokens_is_refused(random_vlm, monkeypatch, error):
    def process(image):
        if error:
            raise error
        return {"pixel_values": torch.zeros(0, 3, 64, 64)}

    monkeypatch.setattr(random_vlm, "_process", process)
    with pytest.raises(InputError, match="300 x 10 pixels"):
        random_vlm.encode(Image.new("RGB", (300, 10)))
