"""Training batches of the tiny VLMs; batch number ``step`` of a stage is the same on every machine and in every resumed run."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from entropy_grounding.structures import Box, View
from entropy_grounding.tiny.build import Recipe
from entropy_grounding.tiny.questions import sample_questions
from entropy_grounding.tiny.scenes import CANVAS, Scene, draw_scene, sample_scene
from entropy_grounding.tiny.vocabulary import COLORS, READABLE
from entropy_grounding.vlm.base import Family

IGNORE = -100
_OF_THE_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")
COLOR_INDEX = {color: index for index, color in enumerate(COLORS)}
LETTER_PIXELS, COLOR_PIXELS = 4.8, 3.0  # side of a card at the model's input from which its letter, its color is asked for
LETTER_INDEX = {letter: index for index, letter in enumerate(READABLE)}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the recipe: what to learn (``align``, ``caption``, ``question``), for how long, and how fast."""

    kind: str
    steps: int
    batch: int
    learning_rate: float
    tower_scale: float = 1.0  # learning rate of the vision tower relative to the rest
    crops: tuple[int, ...] = (0,)  # number of crops in the prompt, in turn
    sides: tuple[float, float] = (14.0, 60.0)  # pixels, side of the cards
    zoom: tuple[float, float] = (1.2, 7.0)  # side of a crop around evidence, relative to the evidence
    close_ups: float = 0.0  # share of the scenes in alignment that are shown by crops only
    keep_words: bool = False  # word embeddings stay as another family learned them
    token_norm: float | None = None  # visual tokens are scaled to it at the end: the norm that an inherited language model knows


def sample_crop(rng: np.random.Generator, evidence: Box | None, canvas: int = CANVAS, zoom: tuple[float, float] = (1.2, 7.0)) -> Box:
    """Draw a crop of a scene: jittered around ``evidence`` at ``zoom`` times its side, or anywhere when it is None."""
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    if evidence is None:
        side = np.exp(rng.uniform(np.log(28), np.log(0.625 * canvas)))
        center = rng.uniform(0, canvas, 2)
    else:
        side = evidence.height * np.exp(rng.uniform(*np.log(zoom)))
        slack = max(side - evidence.height, 0.0) / 2
        center = np.asarray(evidence.center) + rng.uniform(-slack, slack, 2)
    width, height = (float(np.clip(v, 16, canvas)) for v in (side * aspect**0.5, side / aspect**0.5))
    x0 = float(np.clip(center[0] - width / 2, 0, canvas - width))
    y0 = float(np.clip(center[1] - height / 2, 0, canvas - height))
    return Box(*(float(round(v)) for v in (x0, y0, x0 + width, y0 + height)))


def patch_labels(scene: Scene, crop: Box, view: View, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Label every visual token of a view with the color and the letter under it.

    Args:
        scene: the scene.
        crop: the part of it that the picture shows.
        view: the token grid; its box is in pixels of the scene.
        cell: side of a token in pixels of the model's input.

    Returns:
        Two int arrays ``(rows, cols)``: indices of color and letter, their number for background, `IGNORE` where undecided.
    """
    rows, cols = view.shape
    colors = np.full((rows, cols), len(COLORS))
    letters = np.full((rows, cols), len(READABLE))
    height, width = view.box.height / rows, view.box.width / cols
    edges_x, edges_y = view.box.x0 + width * np.arange(cols + 1), view.box.y0 + height * np.arange(rows + 1)
    best = np.zeros((rows, cols))
    for element in scene.elements:
        visible = element.box.intersection(crop)
        if visible is None:
            continue
        across = np.clip(np.minimum(edges_x[1:], visible.x1) - np.maximum(edges_x[:-1], visible.x0), 0, None)
        down = np.clip(np.minimum(edges_y[1:], visible.y1) - np.maximum(edges_y[:-1], visible.y0), 0, None)
        area = down[:, None] * across[None, :]
        covered = np.maximum(area / (height * width), 0.75 * area / element.box.area)
        won = covered > best
        best[won] = covered[won]
        colors[won], letters[won] = IGNORE, IGNORE
        seen = element.box.height * cell / max(height, width)
        clear = won & (covered >= 0.3) & (seen >= COLOR_PIXELS)
        colors[clear] = COLOR_INDEX[element.color]
        if visible.area >= 0.75 * element.box.area and seen >= LETTER_PIXELS:
            letters[clear] = LETTER_INDEX[element.text]
    return colors, letters


class StageBatches(Dataset):
    """The batches of one stage, from ``start`` on; each is drawn from (seed, stage number, step).

    Args:
        stage: what to draw.
        number: its number in the recipe.
        processor: the processor of the model.
        recipe: sizes of scenes and cells.
        family: the adapter, for the chat content and the token grids.
        config: the configuration of the model.
        seed: seed of the training.
        start: first step.
    """

    def __init__(
        self, stage: Stage, number: int, processor: Any, recipe: Recipe, family: Family, config: Any, *, seed: int, start: int = 0
    ) -> None:
        self.stage, self.number, self.seed, self.start = stage, number, seed, start
        self.processor, self.recipe, self.family, self.config = processor, recipe, family, config

    def __len__(self) -> int:
        """Return the number of batches left."""
        return self.stage.steps - self.start

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return batch ``start + index`` as tensors."""
        step = self.start + index
        if index >= len(self):
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.number, step])
        if self.stage.kind == "align":
            return self._alignment_batch(rng)
        return self._text_batch(rng, self.stage.crops[step % len(self.stage.crops)])

    def _alignment_batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        parts: list[dict[str, Tensor]] = []
        colors: list[np.ndarray] = []
        letters: list[np.ndarray] = []
        while len(parts) < self.stage.batch:
            scene = self._scene(rng)
            picture = draw_scene(scene)
            crops = [] if rng.random() < self.stage.close_ups else [Box(0, 0, *map(float, scene.size))]
            while len(crops) < 4:
                crops.append(self._crop(rng, scene.elements[rng.integers(len(scene.elements))].box))
            for crop in crops:
                inputs, color, letter = self._labelled(scene, picture.crop(crop.xyxy()), crop)
                parts.append(inputs)
                colors.append(color)
                letters.append(letter)
        return {**_merge(parts), "colors": torch.tensor(np.concatenate(colors)), "letters": torch.tensor(np.concatenate(letters))}

    def _labelled(self, scene: Scene, shown: Image.Image, crop: Box) -> tuple[dict[str, Tensor], np.ndarray, np.ndarray]:
        """Return a picture's tensors and the two labels of each of its visual tokens; newline tokens have none."""
        inputs = dict(self.processor(text=self.processor.image_token, images=[shown], return_tensors="pt"))
        tokens = int((inputs["input_ids"] == self.config.image_token_id).sum())
        views = self.family.views(self.config, self.processor, inputs, shown.size)
        colors, letters = np.full(tokens, IGNORE), np.full(tokens, IGNORE)
        for view in views.values():
            box = Box(view.box.x0 + crop.x0, view.box.y0 + crop.y0, view.box.x1 + crop.x0, view.box.y1 + crop.y0)
            colors[view.token_indices], letters[view.token_indices] = patch_labels(scene, crop, replace(view, box=box), self.recipe.cell)
        return {name: value for name, value in inputs.items() if name not in _OF_THE_TEXT}, colors, letters

    def _scene(self, rng: np.random.Generator) -> Scene:
        return sample_scene(rng, sides=self.stage.sides, canvas=self.recipe.canvas)

    def _crop(self, rng: np.random.Generator, evidence: Box | None) -> Box:
        return sample_crop(rng, evidence, self.recipe.canvas, self.stage.zoom)

    def _text_batch(self, rng: np.random.Generator, crops: int) -> dict[str, Tensor]:
        dialogues, pictures, answers = [], [], []
        for _ in range(self.stage.batch):
            turns, shown = self._text_example(rng, crops)
            text, spans = self._dialogue(turns, len(shown))
            dialogues.append(text)
            pictures.append(shown)
            answers.append(spans)
        inputs = self.processor(text=dialogues, images=pictures, return_tensors="pt", padding=True, padding_side="right")
        lengths = inputs.pop("attention_mask").sum(1)  # padding is on the right, so a causal model needs no mask
        labels = torch.full_like(inputs["input_ids"], IGNORE)
        for row, (spans, length) in enumerate(zip(answers, lengths.tolist(), strict=True)):
            for start, end in spans:
                labels[row, length - start : length - end] = inputs["input_ids"][row, length - start : length - end]
        if self.stage.kind == "caption":
            letters = torch.tensor(self.processor.tokenizer.convert_tokens_to_ids(list(READABLE)))
            labels[~torch.isin(labels, letters)] = IGNORE
        return {**inputs, "labels": labels}

    def _text_example(self, rng: np.random.Generator, crops: int) -> tuple[list[tuple[str, str]], list[Image.Image]]:
        """Return (question, answer) turns and the pictures: the scene, then its crops."""
        scene = self._scene(rng)
        picture = draw_scene(scene)
        if self.stage.kind == "caption":
            listed = [scene.elements[i] for i in rng.permutation(len(scene.elements))]
            turns = [("List the cards.", " ".join(f"{e.color} {e.text}" for e in listed))]
            evidence: list[Box] = []
        else:
            questions = sample_questions(rng, scene, 5)
            turns = [(q.text, q.answer) for q in questions]
            evidence = [box for q in questions for box in q.evidence]
        boxes = []
        for _ in range(crops):
            near = evidence and rng.random() < 0.75
            boxes.append(self._crop(rng, evidence[rng.integers(len(evidence))] if near else None))
        return turns, [picture, *(picture.crop(box.xyxy()) for box in boxes)]

    def _dialogue(self, turns: list[tuple[str, str]], images: int) -> tuple[str, list[tuple[int, int]]]:
        """Return the chat-formatted dialogue, and where each answer starts and ends, in tokens counted from the end of the text."""
        messages: list[dict[str, Any]] = []
        marks: list[tuple[int, int]] = []
        for question, answer in turns:
            messages.append({"role": "user", "content": self.family.content(question, 0 if messages else images)})
            asked = len(self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            text = self.processor.apply_chat_template(messages, tokenize=False)
            marks.append((asked, len(text)))
        lengths = [len(ids) for ids in self._ids([text[mark:] for marked in marks for mark in marked])]
        return text, list(zip(lengths[::2], lengths[1::2], strict=True))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]


def _merge(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the tensors of single pictures; pictures with fewer tiles are filled up with empty ones, which no model looks at."""
    most = max(part["pixel_values"].shape[1] for part in parts)

    def filled(name: str, tensor: Tensor) -> Tensor:
        if name != "pixel_values" or tensor.ndim < 5 or len(tensor[0]) == most:
            return tensor
        return torch.cat([tensor, tensor.new_zeros(1, most - tensor.shape[1], *tensor.shape[2:])], 1)

    return {name: torch.cat([filled(name, part[name]) for part in parts]) for name in parts[0]}
