"""The recipe of the tiny VLMs: scenes, questions, labels, batches, resuming."""

import dataclasses
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import ImageChops

from entropy_grounding.app.question import unknown_words
from entropy_grounding.benchmarks.miniature.questions import held_out_example, sample_questions
from entropy_grounding.benchmarks.miniature.scenes import (
    CANVAS,
    SMALL,
    Element,
    Scene,
    draw_scene,
    sample_scene,
)
from entropy_grounding.benchmarks.miniature.words import COLORS
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.core.records import RelevanceMap
from entropy_grounding.tiny.architectures import RECIPES, Size, build_internvl, build_llava
from entropy_grounding.tiny.batches import (
    IGNORE,
    LABELS,
    Stage,
    StageBatches,
    patch_labels,
    sample_crop,
)
from entropy_grounding.tiny.check import CheckConfig, check, check_part, evidence_hit
from entropy_grounding.tiny.tokenizer import build_tokenizer
from entropy_grounding.tiny.weight_transfer import inherit, shared_words
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.registry import FAMILIES

SMALL_MODEL = Size(32, 2, 1)
WORDS = {"image_token": "<image>"}
EACH_FAMILY = pytest.mark.parametrize("family", list(RECIPES))


def batches(family, stage, start=0):
    torch.manual_seed(0)
    model, processor = RECIPES[family].build(SMALL_MODEL)
    adapter = FAMILIES[type(model).__name__]
    return model, StageBatches(
        stage, 1, processor, RECIPES[family], adapter, model.config, seed=0, start=start
    )


def test_a_seed_draws_the_same_picture():
    first, second = (draw_scene(held_out_example(7)[0]) for _ in range(2))
    assert ImageChops.difference(first, second).getbbox() is None


def test_cards_have_other_colors_and_do_not_overlap():
    for seed in range(30):
        elements = sample_scene(np.random.default_rng(seed)).elements
        assert len({e.color for e in elements}) == len(elements)
        assert not any(a.box.intersection(b.box) for a in elements for b in elements if a is not b)
        assert all(Box(0, 0, CANVAS, CANVAS).intersection(e.box) == e.box for e in elements)


def test_held_out_evidence_is_small_and_named_by_the_question():
    for seed in range(30):
        scene, question = held_out_example(seed)
        (box,) = question.evidence
        (element,) = [e for e in scene.elements if e.box == box]
        assert SMALL[0] <= box.height <= SMALL[1]
        assert element.color in question.text
        assert element.text == question.answer


def test_yes_and_no_are_balanced():
    rng = np.random.default_rng(0)
    answers = Counter()
    for _ in range(600):
        for question in sample_questions(rng, sample_scene(rng), 5):
            if question.answer in ("yes", "no"):
                answers[question.text.split()[0], question.answer] += 1
    for kind in ("Is", "Do"):
        share = answers[kind, "yes"] / (answers[kind, "yes"] + answers[kind, "no"])
        assert 0.3 < share < 0.6, (kind, share)


def test_every_word_of_the_questions_is_known():
    tokenizer = build_tokenizer(WORDS)
    rng = np.random.default_rng(0)
    for _ in range(100):
        for question in sample_questions(rng, sample_scene(rng), 5):
            assert unknown_words(tokenizer, f"{question.text} {question.answer}") == []


def test_unknown_words_are_named_once_in_order():
    assert unknown_words(build_tokenizer(WORDS), "What zebra is on the unicorn zebra?") == [
        "zebra",
        "unicorn",
    ]


@pytest.mark.parametrize("mark", [*'"“”«»!#*+=<>[]{}…—。', "€", "→", "☃", "\u200b", "''"])
def test_marks_are_no_unknown_words(mark):
    assert unknown_words(build_tokenizer(WORDS), f"What does the sign {mark} say?") == []
    assert unknown_words(build_tokenizer(WORDS), f"What is the {mark} zebra {mark}?") == ["zebra"]


def test_a_quoted_word_is_known_without_its_quotes():
    assert unknown_words(
        build_tokenizer(WORDS), 'What does the "red" sign say, “red” or «zebra»?'
    ) == ["zebra"]


def grid(crop):
    return View(0, np.arange(64).reshape(8, 8), crop)


def test_patch_labels_mark_the_card():
    """A 64 px red T in the upper left quarter of the canvas fills 2 x 2 of 8 x 8 cells."""
    scene = Scene((Element("card", "red", "T", Box(0, 0, 64, 64)),), 0)
    whole = Box(0, 0, CANVAS, CANVAS)
    labels = patch_labels(scene, whole, grid(whole), 8)
    colors, letters = labels["colors"], labels["letters"]
    assert (colors[:2, :2] == 0).all()
    assert (letters[:2, :2] == LABELS["letters"].index("T")).all()
    assert (np.delete(colors.ravel(), [0, 1, 8, 9]) == len(COLORS)).all()


def test_a_letter_that_is_mostly_cut_off_is_not_a_label():
    scene = Scene((Element("card", "red", "T", Box(0, 0, 64, 64)),), 0)
    crop = Box(40, 0, 104, 64)
    letters = patch_labels(scene, crop, grid(crop), 8)["letters"]
    assert LABELS["letters"].index("T") not in letters


@pytest.mark.parametrize(
    ("side", "color", "letter"), [(16, True, False), (8, False, False), (24, True, True)]
)
def test_labels_ask_only_for_what_the_input_shows(side, color, letter):
    """A quarter of a card of 8 pixels is too small for its color, of 16 for its letter."""
    scene = Scene((Element("card", "red", "T", Box(0, 0, side, side)),), 0)
    whole = Box(0, 0, CANVAS, CANVAS)
    labels = patch_labels(scene, whole, grid(whole), 8)
    colors, letters = labels["colors"], labels["letters"]
    assert (colors[0, 0] == 0, letters[0, 0] == LABELS["letters"].index("T")) == (color, letter)


def test_the_letters_of_a_sign_know_their_place():
    """A sign of two 64 px cells.

    The first fills the upper left quarter of the canvas's left half, the last the one beside it.
    """
    scene = Scene((Element("sign", "red", "T K", Box(0, 0, 128, 64)),), 0)
    whole = Box(0, 0, CANVAS, CANVAS)
    labels = patch_labels(scene, whole, grid(whole), 8)
    assert (labels["letters"][:2, :2] == LABELS["letters"].index("T")).all()
    assert (labels["letters"][:2, 2:4] == LABELS["letters"].index("K")).all()
    assert (labels["places"][:2, :4] == [0, 0, 1, 1]).all()
    assert (labels["places"][2:] == 2).all()


def test_a_row_has_a_key_without_a_letter_and_a_bar_a_stem():
    whole = Box(0, 0, CANVAS, CANVAS)
    for element in (
        Element("row", "red", "T K", Box(0, 0, 192, 64)),
        Element("bar", "red", "T", Box(0, 0, 64, 256)),
    ):
        cells = element.cells()
        assert sorted(cell.letter for cell in cells) == sorted(["", *element.letters])
        assert sum(cell.box.area for cell in cells) == element.box.area
        labels = patch_labels(Scene((element,), 0), whole, grid(whole), 8)
        assert (labels["colors"] == 0).sum() == element.box.area / 32**2


def test_tokens_know_their_third_of_the_picture():
    labels = patch_labels(
        Scene((), 0), Box(0, 0, CANVAS, CANVAS), grid(Box(0, 0, CANVAS, CANVAS)), 8
    )
    assert (labels["columns"] == [0, 0, 0, 2, 2, 1, 1, 1]).all()
    assert (labels["rows"] == np.array([[0, 0, 0, 2, 2, 1, 1, 1]]).T).all()


def test_crops_show_their_evidence():
    rng = np.random.default_rng(0)
    for _ in range(200):
        element = sample_scene(rng).elements[0]
        crop = sample_crop(rng, element.box)
        assert Box(0, 0, CANVAS, CANVAS).intersection(crop) == crop
        assert crop.intersection(element.box).area >= 0.2 * element.box.area


@EACH_FAMILY
def test_the_committed_weights_are_those_of_the_recipe(family):
    """Every tensor has the name and shape, and the processor is the one, that the builder gives."""
    model, processor = RECIPES[family].build()
    released = load_vlm(f"tiny_{family}")
    assert {name: t.shape for name, t in model.state_dict().items()} == {
        name: t.shape for name, t in released.model.state_dict().items()
    }
    assert processor.chat_template == released.processor.chat_template
    assert processor.tokenizer.get_vocab() == released.processor.tokenizer.get_vocab()
    for key in ("size", "crop_size", "max_patches", "image_grid_pinpoints", "do_pad"):
        built, stored = (
            getattr(each.image_processor, key, None) for each in (processor, released.processor)
        )
        assert built == stored, key


@EACH_FAMILY
@pytest.mark.parametrize("kind", ["align", "caption", "question"])
def test_batches_are_the_same_in_a_resumed_run(family, kind):
    stage = Stage(kind, 5, 4, 1e-3, crops=(0, 1))
    straight, resumed = batches(family, stage)[1][3], batches(family, stage, start=2)[1][1]
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


@EACH_FAMILY
def test_training_prompts_are_those_of_the_chat_template(family):
    _, drawn = batches(family, Stage("question", 5, 1, 1e-3, crops=(1,)))
    processor, adapter, batch = drawn.processor, drawn.family, drawn[0]
    text = processor.apply_chat_template(
        [{"role": "user", "content": adapter.content("What", 2)}], add_generation_prompt=True
    )
    rng = np.random.default_rng([0, 1, 0])
    _, pictures = drawn._text_example(rng, 1)
    expected = processor(text=text, images=pictures, return_tensors="pt")["input_ids"][0]
    asked = int((expected == processor.tokenizer.convert_tokens_to_ids("what")).nonzero()[0])
    assert torch.equal(batch["input_ids"][0, :asked], expected[:asked])


@EACH_FAMILY
def test_labels_are_the_answers_and_the_end_of_each(family):
    _, drawn = batches(family, Stage("question", 5, 3, 1e-3, crops=(0,)))
    rng = np.random.default_rng([0, 1, 0])
    batch, tokenizer = drawn[0], drawn.processor.tokenizer
    for row in range(3):
        turns, _ = drawn._text_example(rng, 0)
        labelled = batch["labels"][row]
        assert torch.equal(
            labelled[labelled != IGNORE], batch["input_ids"][row][labelled != IGNORE]
        )
        spoken = tokenizer.decode(labelled[labelled != IGNORE]).replace("\n", " ").split()
        assert spoken == [word for _, answer in turns for word in (answer, tokenizer.eos_token)]


@EACH_FAMILY
def test_every_visual_token_has_an_alignment_label(family):
    from entropy_grounding.tiny.train import Student, visual_tokens

    model, drawn = batches(family, Stage("align", 5, 8, 1e-3))
    batch = drawn[0]
    assert {len(visual_tokens(Student(model), batch))} == {len(batch[name]) for name in LABELS}


def test_an_heir_sees_what_its_donor_sees(tiny_vlm):
    """InternVL's tower has no norm in front of its layers; apart from that it is CLIP's."""
    model, processor = build_internvl()
    inherit(model, tiny_vlm.model, shared_words(processor, tiny_vlm.processor))
    picture = draw_scene(held_out_example(3)[0])
    pixels = tiny_vlm.processor.image_processor([picture], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        donor = tiny_vlm.model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[
            -1
        ]
        heir = model.eval().model.vision_tower(pixels).last_hidden_state
    assert torch.cosine_similarity(donor, heir, dim=-1).mean() > 0.9


@pytest.mark.parametrize("family", ["llava_next", "internvl", "qwen2_5_vl"])
def test_an_heir_speaks_as_its_donor_does(family, tiny_vlm):
    """On text alone, M-RoPE positions and zero biases change nothing.

    Logits of the shared words are the donor's.
    """
    model, processor = RECIPES[family].build()
    words = shared_words(processor, tiny_vlm.processor)
    inherit(model, tiny_vlm.model, words)
    ids = torch.tensor([[20, 30, 40, 50, 60]])
    with torch.no_grad():
        donor, heir = (each(input_ids=ids).logits[0, -1] for each in (tiny_vlm.model, model.eval()))
    torch.testing.assert_close(heir[words[:, 0]], donor[words[:, 1]], atol=1e-2, rtol=0)


def test_an_heir_with_deepstack_begins_as_its_donor():
    """Qwen3-VL norms queries and keys, which moves few logits; DeepStack adds nothing at first."""
    donor = load_vlm("tiny_qwen2_5_vl")
    model, processor = RECIPES["qwen3_vl"].build()
    words = shared_words(processor, donor.processor)
    inherit(model, donor.model, words)

    picked = words[
        torch.randint(0, len(words), (20, 16), generator=torch.Generator().manual_seed(0))
    ]
    with torch.no_grad():
        before = donor.model(input_ids=picked[..., 1]).logits[..., words[:, 1]]
        after = model.eval()(input_ids=picked[..., 0]).logits[..., words[:, 0]]
    assert torch.cosine_similarity(before, after, dim=-1).mean() > 0.99

    picture = draw_scene(held_out_example(3)[0])
    inputs = processor(text=processor.image_token, images=[picture], return_tensors="pt")
    pictures = {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}
    with torch.no_grad():
        encoded = model.get_image_features(**pictures, return_dict=True)
    for layer in encoded.deepstack_features:
        assert not torch.cat(layer).any()


def test_an_interrupted_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    from entropy_grounding.tiny import train

    small = dataclasses.replace(RECIPES["llava"], build=lambda: build_llava(Size(32, 1, 1)))
    monkeypatch.setitem(train.RECIPES, "llava", small)

    def config(folder):
        stages = [Stage("align", 3, 4, 1e-3), Stage("question", 4, 2, 1e-3, crops=(0, 1))]
        untracked = train.TrackingConfig(mode="disabled")
        return train.TrainConfig(
            run_dir=str(tmp_path / folder),
            checkpoint_every=2,
            stages=tuple(stages),
            tracking=untracked,
        )

    straight = train.Trainer(config("straight")).fit()
    save, calls = train.Trainer._save, []

    def save_then_stop(self, **progress):
        save(self, **progress)
        calls.append(progress["step"])
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(train.Trainer, "_save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train.Trainer(config("resumed")).fit()
    monkeypatch.setattr(train.Trainer, "_save", save)
    resumed = train.Trainer(config("resumed")).fit()
    assert (straight / "model.safetensors").read_bytes() == (
        resumed / "model.safetensors"
    ).read_bytes()


def test_evidence_hit_and_chance_by_hand():
    """The peak is the cell (2, 3) of 4 x 4 cells of 10 pixels.

    The first evidence meets it and one neighbour.
    """
    values = np.zeros((4, 4))
    values[2, 3] = 1.0
    view = View(0, np.arange(16).reshape(4, 4), Box(0, 0, 40, 40))
    found = RelevanceMap(view, values, values, np.ones((4, 4), bool))
    assert evidence_hit(found, Box(28, 22, 34, 28)) == (True, 2 / 16)
    assert evidence_hit(found, Box(2, 2, 8, 8)) == (False, 1 / 16)


def test_workers_of_the_check_change_nothing_but_its_time():
    config = CheckConfig(examples=3, first_seed=70, methods={"no zoom": ["method=base"]})
    rows = pd.DataFrame(check_part(config, (70, 71, 72)))  # what one worker returns
    assert rows["seed"].tolist() == [seed for seed in (70, 71, 72) for _ in range(4)]
    assert rows.equals(check(dataclasses.replace(config, workers=2)))
    with pytest.raises(InputError, match="workers is 0: the check needs at least 1"):
        check(dataclasses.replace(config, workers=0))


def test_a_family_without_a_recipe_is_refused(tmp_path):
    from entropy_grounding.tiny.train import TrainConfig, Trainer

    with pytest.raises(
        InputError,
        match="Unknown family 'unicorn': "
        "there is a recipe for llava, llava_next, internvl, qwen2_5_vl",
    ):
        Trainer(TrainConfig(family="unicorn", run_dir=str(tmp_path)))
