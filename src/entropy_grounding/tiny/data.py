"""Training batches of the tiny VLMs; batch number ``step`` of a stage is the same on every machine and in every resumed run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from entropy_grounding.structures import Box
from entropy_grounding.tiny.questions import sample_questions
from entropy_grounding.tiny.scenes import CANVAS, Scene, draw_scene, sample_scene
from entropy_grounding.tiny.vocabulary import COLORS, READABLE

IGNORE = -100
COLOR_INDEX = {color: index for index, color in enumerate(COLORS)}
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


def sample_crop(rng: np.random.Generator, evidence: Box | None) -> Box:
    """Draw a crop of a scene: jittered around ``evidence`` at 1.2 to 7 times its side, or anywhere when it is None."""
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    if evidence is None:
        side = np.exp(rng.uniform(np.log(28), np.log(160)))
        center = rng.uniform(0, CANVAS, 2)
    else:
        side = evidence.height * np.exp(rng.uniform(np.log(1.2), np.log(7.0)))
        slack = max(side - evidence.height, 0.0) / 2
        center = np.asarray(evidence.center) + rng.uniform(-slack, slack, 2)
    width, height = (float(np.clip(v, 16, CANVAS)) for v in (side * aspect**0.5, side / aspect**0.5))
    x0 = float(np.clip(center[0] - width / 2, 0, CANVAS - width))
    y0 = float(np.clip(center[1] - height / 2, 0, CANVAS - height))
    return Box(*(float(round(v)) for v in (x0, y0, x0 + width, y0 + height)))


def patch_labels(scene: Scene, crop: Box, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Label every visual token of a crop with the color and the letter under it.

    Args:
        scene: the scene.
        crop: the part of it that is shown, padded to a square by the processor.
        grid: rows and columns of the token grid.

    Returns:
        Two int arrays ``(grid, grid)``: indices of color and letter, their number for background, `IGNORE` where undecided.
    """
    colors = np.full((grid, grid), len(COLORS))
    letters = np.full((grid, grid), len(READABLE))
    side = max(crop.width, crop.height)
    cell = side / grid
    x0, y0 = crop.center[0] - side / 2, crop.center[1] - side / 2
    edges_x, edges_y = x0 + cell * np.arange(grid + 1), y0 + cell * np.arange(grid + 1)
    best = np.zeros((grid, grid))
    for element in scene.elements:
        visible = element.box.intersection(crop)
        if visible is None:
            continue
        across = np.clip(np.minimum(edges_x[1:], visible.x1) - np.maximum(edges_x[:-1], visible.x0), 0, None)
        down = np.clip(np.minimum(edges_y[1:], visible.y1) - np.maximum(edges_y[:-1], visible.y0), 0, None)
        area = down[:, None] * across[None, :]
        covered = np.maximum(area / cell**2, 0.75 * area / element.box.area)
        won = covered > best
        best[won] = covered[won]
        clear = won & (covered >= 0.3)
        colors[won], letters[won] = IGNORE, IGNORE
        colors[clear] = COLOR_INDEX[element.color]
        if visible.area >= 0.75 * element.box.area and element.box.height / cell >= 0.6:
            letters[clear] = LETTER_INDEX[element.text]
    return colors, letters


class StageBatches(Dataset):
    """The batches of one stage, from ``start`` on; each is drawn from (seed, stage number, step)."""

    def __init__(self, stage: Stage, number: int, processor: Any, *, seed: int, start: int = 0) -> None:
        self.stage, self.number, self.seed, self.start = stage, number, seed, start
        self.processor = processor
        self.grid = processor.image_processor.size["height"] // processor.patch_size

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
        pictures: list[Image.Image] = []
        colors: list[np.ndarray] = []
        letters: list[np.ndarray] = []
        while len(pictures) < self.stage.batch:
            scene = sample_scene(rng, sides=self.stage.sides)
            picture = draw_scene(scene)
            crops = [Box(0, 0, CANVAS, CANVAS)]
            crops += [sample_crop(rng, scene.elements[rng.integers(len(scene.elements))].box) for _ in range(3)]
            for crop in crops:
                pictures.append(picture.crop(crop.xyxy()))
                color, letter = patch_labels(scene, crop, self.grid)
                colors.append(color.ravel())
                letters.append(letter.ravel())
        pixels = self.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels, "colors": torch.tensor(np.stack(colors)), "letters": torch.tensor(np.stack(letters))}

    def _text_batch(self, rng: np.random.Generator, crops: int) -> dict[str, Tensor]:
        examples = [self._text_example(rng, crops) for _ in range(self.stage.batch)]
        texts = [segments for segments, _ in examples]
        pixels = self.processor.image_processor([p for _, pictures in examples for p in pictures], return_tensors="pt")
        rows = [self._encode(segments, 1 + crops) for segments in texts]
        length = max(len(ids) for ids, _ in rows)
        pad = self.processor.tokenizer.pad_token_id
        ids = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in rows])
        labels = torch.tensor([labels + [IGNORE] * (length - len(labels)) for _, labels in rows])
        return {"input_ids": ids, "labels": labels, "pixel_values": pixels["pixel_values"]}

    def _text_example(self, rng: np.random.Generator, crops: int) -> tuple[list[tuple[str, str]], list[Image.Image]]:
        """Return (prompt, answer) segments and the pictures: the scene, then its crops."""
        scene = sample_scene(rng, sides=self.stage.sides)
        picture = draw_scene(scene)
        if self.stage.kind == "caption":
            order = rng.permutation(len(scene.elements))
            listed = [scene.elements[i] for i in order]
            segments = [(f"List the cards. ASSISTANT: {e.color}" if i == 0 else e.color, e.text) for i, e in enumerate(listed)]
            evidence: list[Box] = []
        else:
            questions = sample_questions(rng, scene, 5)
            segments = [(("" if i == 0 else "USER: \n") + f"{q.text} ASSISTANT:", f"{q.answer} </s>") for i, q in enumerate(questions)]
            evidence = [box for q in questions for box in q.evidence]
        boxes = []
        for _ in range(crops):
            near = evidence and rng.random() < 0.75
            boxes.append(sample_crop(rng, evidence[rng.integers(len(evidence))] if near else None))
        return segments, [picture, *(picture.crop(box.xyxy()) for box in boxes)]

    def _encode(self, segments: list[tuple[str, str]], images: int) -> tuple[list[int], list[int]]:
        """Return token ids and labels; only answers carry a loss."""
        tokenizer = self.processor.tokenizer

        def encode(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        ids = [tokenizer.bos_token_id, *encode("USER:")]
        for _ in range(images):
            ids += [tokenizer.image_token_id] * self.grid**2 + encode("\n")
        labels = [IGNORE] * len(ids)
        for prompt, answer in segments:
            asked, answered = encode(prompt), encode(answer)
            ids += asked + answered
            labels += [IGNORE] * len(asked) + answered
        return ids, labels
