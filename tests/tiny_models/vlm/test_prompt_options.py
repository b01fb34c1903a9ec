"""Options of pictures and prompts: least pixels, system message, labels of several pictures."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from entropy_grounding import ground
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.core.config import section_config
from entropy_grounding.core.errors import InputError
from entropy_grounding.evaluation.config import EvaluateConfig, fingerprint
from entropy_grounding.evaluation.example import _empty_row
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.processors import apply_budgets

FAMILIES = ("llava", "llava_next", "internvl", "qwen2_5_vl")
SYSTEM = "Answer as a librarian would, in few words."

# Templates in the forms of the released checkpoints, with the marks of the tiny tokenizers.
TEMPLATES = {
    "llava": (
        "{% for m in messages %}"
        "{% if m.role != 'system' %}{{ m.role.upper() + ': ' }}{% endif %}"
        "{% for c in m.content if c.type == 'image' %}{{ '<image>\n' }}{% endfor %}"
        "{% for c in m.content if c.type == 'text' %}{{ c.text + ' ' }}{% endfor %}"
        "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    ),
    "llava_next": (
        "{% for m in messages %}"
        "{% if m.role == 'system' %}{{ '<<SYS>>\n' + m.content[0].text + '\n<</SYS>>\n\n' }}"
        "{% elif m.role == 'user' %}{{ '[INST] ' }}"
        "{% for c in m.content if c.type == 'image' %}{{ '<image>\n' }}{% endfor %}"
        "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}{{ ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content[0].text + '</s> ' }}{% endif %}{% endfor %}"
    ),
    "internvl": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% for c in m.content %}"
        "{% if c.type == 'image' %}{{ '<IMG_CONTEXT>\n' }}{% else %}{{ c.text }}{% endif %}"
        "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "qwen2_5_vl": (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}{% for c in m.content %}{% if c.type == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}"
        "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
}


@pytest.fixture(scope="module")
def tiny():
    return {family: load_vlm(f"tiny_{family}") for family in FAMILIES}


@pytest.fixture
def build(tiny):
    """Return a function that puts a VLM together again, with the template of a released one."""
    templates = {family: vlm.processor.chat_template for family, vlm in tiny.items()}

    def built(family, **options):
        vlm = tiny[family]
        vlm.processor.chat_template = TEMPLATES[family]
        return VLM(vlm.model, vlm.processor, vlm.family, family, **options)

    yield built
    for family, template in templates.items():
        tiny[family].processor.chat_template = template


def ids_of_processor(vlm, messages, images):
    text = vlm.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return text, vlm.processor(text=text, images=images, return_tensors="pt")["input_ids"]


def turn(question, images):
    pictures = [{"type": "image"} for _ in range(images)]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": question}]}


# --- the system message ---


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("system", [None, "", SYSTEM])
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_equal_the_chat_template_with_the_system_message(
    build, scene, family, system, images
):
    image, question = scene
    vlm = build(family, system_prompt=system)
    pictures = [vlm.encode(image) for _ in range(images)]
    prompt = vlm.prompt(question.text, pictures)

    messages = [turn(question.text, images)]
    if system is not None:
        text = [{"type": "text", "text": system}]
        messages = [{"role": "system", "content": text}, *messages]
    expected, ids = ids_of_processor(vlm, messages, [image] * images)
    assert prompt.text == expected
    assert prompt.inputs["input_ids"].equal(ids)
    assert (SYSTEM in prompt.text) is (system == SYSTEM)


def test_a_system_message_replaces_the_one_of_the_template(build):
    assert "You are a helpful assistant." in build("qwen2_5_vl").chat_text("What?", 1)
    ours = build("qwen2_5_vl", system_prompt=SYSTEM).chat_text("What?", 1)
    assert "You are a helpful assistant." not in ours


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loop_runs_with_a_system_message(build, scene, family):
    image, question = scene
    vlm = build(family, system_prompt=SYSTEM)
    found = ground(vlm, image, question.text)
    assert found.steps
    assert vlm.answer_loss(question.text, [vlm.encode(image)], "A") > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_template_without_system_messages_refuses_one(family):
    """The tiny VLMs' templates would say it as the assistant."""
    config = VLMConfig(name="x", weights=f"tiny:{family}", system_prompt=SYSTEM)
    with pytest.raises(InputError, match="vlm.system_prompt has no meaning here"):
        load_vlm(config)


def test_a_template_that_raises_for_a_system_message_refuses_one(build, tiny):
    build("llava")
    tiny["llava"].processor.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + TEMPLATES["llava"]
    )
    vlm = tiny["llava"]
    with pytest.raises(InputError, match="knows no system message"):
        VLM(vlm.model, vlm.processor, vlm.family, "x", system_prompt=SYSTEM)


def test_a_placeholder_in_the_system_message_is_refused(build):
    with pytest.raises(InputError, match="holds '<image>', which stands for an image"):
        build("llava", system_prompt="Look at <image>.")


# --- labels ---


def test_internvl_labels_are_those_of_its_own_evaluation(build):
    vlm = build("internvl", image_labels=True)
    two = "Image-1: <IMG_CONTEXT>\nImage-2: <IMG_CONTEXT>\nWhat?"
    assert two in vlm.chat_text("What?", 2)
    assert vlm.chat_text("What?", 1) == build("internvl").chat_text("What?", 1)


def test_qwen_labels_begin_a_line(build):
    pad = "<|vision_start|><|image_pad|><|vision_end|>"
    vlm = build("qwen2_5_vl", image_labels=True)
    assert f"Image-1: {pad}\nImage-2: {pad}\nWhat?" in vlm.chat_text("What?", 2)
    assert vlm.chat_text("What?", 1) == build("qwen2_5_vl").chat_text("What?", 1)


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl"])
def test_labelled_prompts_equal_the_processor_and_the_loop_runs(build, scene, family):
    image, question = scene
    vlm = build(family, image_labels=True)
    prompt = vlm.prompt(question.text, [vlm.encode(image)] * 2)
    content = vlm.family.labelled(question.text, 2)
    text, ids = ids_of_processor(vlm, [{"role": "user", "content": content}], [image] * 2)
    assert prompt.text == text
    assert prompt.inputs["input_ids"].equal(ids)
    assert ground(vlm, image, question.text).steps


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_a_template_that_puts_all_pictures_first_refuses_labels(build, family):
    with pytest.raises(InputError, match="vlm.image_labels=true has no meaning here"):
        build(family, image_labels=True)


# --- least pixels ---


@pytest.mark.parametrize(("least", "tokens"), [(None, 64), (1, 6), (1024, 20), (4096, 64)])
def test_small_pictures_are_enlarged_to_the_least_pixels(least, tokens):
    """A picture of 24 x 16 pixels has 3 x 2 tokens of 8 x 8 pixels."""
    vlm = load_vlm(VLMConfig(name="x", weights="tiny:qwen2_5_vl", min_pixels=least))
    found = len(vlm.encode(Image.new("RGB", (24, 16))).features)
    assert abs(found - tokens) <= tokens / 10  # whole tokens, near the picture's shape


def test_released_sizes_of_qwen(tiny):
    """A crop of 190 x 140 pixels keeps 35 tokens, and has 256 and more with lmms-eval's least."""
    images = type(tiny["qwen2_5_vl"].processor.image_processor)(
        size={"shortest_edge": 3_136, "longest_edge": 12_845_056},
        patch_size=14,
        merge_size=2,
    )
    crop = Image.new("RGB", (190, 140))
    assert _tokens(images, crop) == 35
    budget = VLMConfig(name="x", min_pixels=256 * 28 * 28, max_pixels=2_019_584)
    apply_budgets(images, budget)
    assert images.size == {"shortest_edge": 200_704, "longest_edge": 2_019_584}
    assert _tokens(images, crop) >= 256


def _tokens(images, picture):
    _, rows, cols = images(images=[picture], return_tensors="pt")["image_grid_thw"][0].tolist()
    return rows * cols // 4


@pytest.mark.parametrize(
    ("family", "options", "complaint"),
    [
        ("llava", {"min_pixels": 100}, "vlm.min_pixels has no meaning for 'x'"),
        ("internvl", {"min_pixels": 100}, "vlm.min_pixels has no meaning for 'x'"),
        ("qwen2_5_vl", {"min_pixels": 0}, "vlm.min_pixels is 0"),
        (
            "qwen2_5_vl",
            {"min_pixels": 4096, "max_pixels": 2048},
            "more than the 2048 pixels that a picture may have",
        ),
        ("qwen2_5_vl", {"min_pixels": 5000}, "more than the 4096 pixels"),
    ],
)
def test_budgets_without_a_meaning_are_refused(family, options, complaint):
    with pytest.raises(InputError, match=complaint):
        load_vlm(VLMConfig(name="x", weights=f"tiny:{family}", **options))


# --- the identity ---


@pytest.mark.parametrize(
    "options", [{"min_pixels": 1024}, {"system_prompt": ""}, {"image_labels": True}]
)
def test_the_options_are_in_the_hash_and_in_the_rows_only_where_used(options):
    config = EvaluateConfig(
        vlm=section_config("vlm", "tiny_qwen2_5_vl", VLMConfig),
        benchmark=section_config("benchmark", "mini_textvqa", BenchmarkConfig),
    )
    other = replace(config, vlm=replace(config.vlm, **options))
    assert fingerprint(config) != fingerprint(other)

    (name,) = options
    assert name not in _empty_row(0, "a", config, "hash").protocol
    assert name in _empty_row(0, "a", other, "hash").protocol


def test_logits_change_with_the_system_message(build, scene):
    image, question = scene
    plain, asked = build("llava"), build("llava", system_prompt=SYSTEM)
    logits = [vlm.logits(vlm.prompt(question.text, [vlm.encode(image)])) for vlm in (plain, asked)]
    assert not torch.equal(*logits)
