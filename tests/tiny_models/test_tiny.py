"""The recipe of the tiny VLMs: scenes, questions, labels, batches, resuming."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from entropy_grounding.errors import InputError
from entropy_grounding.structures import Box, RelevanceMap, View
from entropy_grounding.tiny.build import build_llava
from entropy_grounding.tiny.check import evidence_hit
from entropy_grounding.tiny.data import IGNORE, LETTER_INDEX, Stage, StageBatches, patch_labels, sample_crop
from entropy_grounding.tiny.questions import held_out_example, sample_questions
from entropy_grounding.tiny.scenes import CANVAS, SMALL, Element, Scene, draw_scene, sample_scene
from entropy_grounding.tiny.vocabulary import COLORS, build_tokenizer, unknown_words


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
    tokenizer = build_tokenizer()
    rng = np.random.default_rng(0)
    for _ in range(100):
        for question in sample_questions(rng, sample_scene(rng), 5):
            assert unknown_words(tokenizer, f"{question.text} {question.answer}") == []


def test_unknown_words_are_named_once_in_order():
    assert unknown_words(build_tokenizer(), "What zebra is on the unicorn zebra?") == ["zebra", "unicorn"]


def test_patch_labels_mark_the_card():
    """A 64 px red T in the upper left quarter of the canvas fills 2 x 2 of 8 x 8 cells."""
    scene = Scene((Element("card", "red", "T", Box(0, 0, 64, 64)),), 0)
    colors, letters = patch_labels(scene, Box(0, 0, CANVAS, CANVAS), 8)
    assert (colors[:2, :2] == 0).all()
    assert (letters[:2, :2] == LETTER_INDEX["T"]).all()
    assert (np.delete(colors.ravel(), [0, 1, 8, 9]) == len(COLORS)).all()


def test_a_letter_that_is_mostly_cut_off_is_not_a_label():
    scene = Scene((Element("card", "red", "T", Box(0, 0, 64, 64)),), 0)
    _, letters = patch_labels(scene, Box(40, 0, 104, 64), 8)
    assert LETTER_INDEX["T"] not in letters


def test_crops_show_their_evidence():
    rng = np.random.default_rng(0)
    for _ in range(200):
        element = sample_scene(rng).elements[0]
        crop = sample_crop(rng, element.box)
        assert Box(0, 0, CANVAS, CANVAS).intersection(crop) == crop
        assert crop.intersection(element.box).area >= 0.2 * element.box.area


@pytest.mark.parametrize("kind", ["align", "caption", "question"])
def test_batches_are_the_same_in_a_resumed_run(kind):
    _, processor = build_llava(width=32, vision_layers=1, text_layers=1)
    stage = Stage(kind, 5, 4, 1e-3, crops=(0, 1))
    straight = StageBatches(stage, 1, processor, seed=0)[3]
    resumed = StageBatches(stage, 1, processor, seed=0, start=2)[1]
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_training_prompts_are_those_of_the_chat_template():
    _, processor = build_llava(width=32, vision_layers=1, text_layers=1)
    batch = StageBatches(Stage("question", 5, 1, 1e-3, crops=(1,)), 1, processor, seed=0)[0]
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    expected = processor(text=text, images=[Image.new("RGB", (64, 64))] * 2, return_tensors="pt")["input_ids"][0]
    shared = len(expected) - 4  # up to the question
    assert torch.equal(batch["input_ids"][0, :shared], expected[:shared])
    answered = batch["labels"][0] != IGNORE
    assert torch.equal(batch["labels"][0][answered], batch["input_ids"][0][answered])


def test_an_interrupted_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    from entropy_grounding.tiny import train

    monkeypatch.setitem(train.BUILDERS, "llava", lambda: build_llava(width=32, vision_layers=1, text_layers=1))

    def config(folder):
        stages = [Stage("align", 3, 4, 1e-3), Stage("question", 4, 2, 1e-3, crops=(0, 1))]
        untracked = train.TrackingConfig(mode="disabled")
        return train.TrainConfig(run_dir=str(tmp_path / folder), checkpoint_every=2, stages=tuple(stages), tracking=untracked)

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
    assert (straight / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


def test_evidence_hit_and_chance_by_hand():
    """The peak is the cell (2, 3) of 4 x 4 cells of 10 pixels; the first evidence meets it and one neighbour."""
    values = np.zeros((4, 4))
    values[2, 3] = 1.0
    view = View(0, np.arange(16).reshape(4, 4), Box(0, 0, 40, 40))
    found = RelevanceMap(view, values, values, np.ones((4, 4), bool))
    assert evidence_hit(found, Box(28, 22, 34, 28)) == (True, 2 / 16)
    assert evidence_hit(found, Box(2, 2, 8, 8)) == (False, 1 / 16)


def test_a_family_without_a_recipe_is_refused(tmp_path):
    from entropy_grounding.tiny.train import TrainConfig, Trainer

    with pytest.raises(InputError, match="Unknown family 'unicorn': there is a recipe for llava"):
        Trainer(TrainConfig(family="unicorn", run_dir=str(tmp_path)))
