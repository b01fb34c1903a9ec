"""Training batches of the tiny VLMs.

Batch number ``step`` of a stage is the same on every machine and in every resumed run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from entropy_grounding.benchmarks.config import Protocol
from entropy_grounding.benchmarks.load import BENCHMARKS
from entropy_grounding.benchmarks.miniature import MINIATURES
from entropy_grounding.benchmarks.miniature.base import Drawn
from entropy_grounding.benchmarks.miniature.questions import Question, sample_questions
from entropy_grounding.benchmarks.miniature.scenes import (
    CANVAS,
    Cell,
    Scene,
    draw_scene,
    sample_scene,
)
from entropy_grounding.benchmarks.miniature.words import COLORS, READABLE
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.tiny.architectures import Recipe
from entropy_grounding.vlm.family import Family

IGNORE = -100
_OF_THE_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")
# Smallest side of a card, in pixels of the model's input, at which alignment asks for its letter
# and for its color.
LETTER_PIXELS = 4.8
COLOR_PIXELS = 3.0
# What alignment asks of every visual token. Each question has a set of words as answers: the color
# and the letter under the token, whether that letter is the first or the last of several, and in
# which third of the picture the token lies (the middle third has no word).
LABELS: dict[str, tuple[str, ...]] = {
    "colors": tuple(COLORS),
    "letters": READABLE,
    "places": ("first", "last"),
    "columns": ("left", "right"),
    "rows": ("top", "bottom"),
}
# Share of each kind of picture in training. "scenes" are the cards of the check and the notebooks.
MIXTURE = {
    "scenes": 0.16,
    "textvqa": 0.18,
    "vstar": 0.16,
    "docvqa": 0.16,
    "infovqa": 0.12,
    "pope": 0.06,
    "gqa": 0.08,
    "realworldqa": 0.08,
}
TURNS = 5  # questions per picture


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the recipe: what to learn, for how many steps, and how fast.

    ``kind`` is "align", "caption" or "question".
    """

    kind: str
    steps: int
    batch: int
    learning_rate: float
    tower_scale: float = 1.0  # learning rate of the vision tower relative to the rest
    # Number of crops in the prompts of a batch; the batches take these numbers in turn.
    crops: tuple[int, ...] = (0,)
    sides: tuple[float, float] = (14.0, 60.0)  # side of the cards in pixels
    # Side of a crop around evidence, relative to the evidence.
    zoom: tuple[float, float] = (1.2, 7.0)
    close_ups: float = 0.0  # share of the scenes in alignment that are shown by crops only
    keep_words: bool = False  # word embeddings stay as another family learned them
    mixture: bool = False  # all kinds of pictures, instead of cards only
    emphasis: dict[str, float] = field(default_factory=dict)  # factors on the shares of `MIXTURE`
    # Mean norm of visual tokens at the end of the stage: the one that an inherited language model
    # has learned to read.
    token_norm: float | None = None


def sample_crop(
    rng: np.random.Generator,
    evidence: Box | None,
    canvas: int = CANVAS,
    zoom: tuple[float, float] = (1.2, 7.0),
) -> Box:
    """Draw a crop of a scene, in pixels of the scene.

    The crop lies around ``evidence``, moved by a random amount, and its side is ``zoom`` times that
    of the evidence. Without evidence the crop lies anywhere.
    """
    # Log-uniform: wide crops are as likely as tall ones, and small ones as large ones.
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    if evidence is None:
        side = np.exp(rng.uniform(np.log(28), np.log(0.625 * canvas)))
        center = rng.uniform(0, canvas, 2)
    else:
        longer = max(evidence.width, evidence.height)
        side = longer * np.exp(rng.uniform(*np.log(zoom)))
        slack = max(side - longer, 0.0) / 2
        center = np.asarray(evidence.center) + rng.uniform(-slack, slack, 2)

    width = float(np.clip(side * aspect**0.5, 16, canvas))
    height = float(np.clip(side / aspect**0.5, 16, canvas))

    # A crop that would leave the scene is moved back into it.
    x0 = float(np.clip(center[0] - width / 2, 0, canvas - width))
    y0 = float(np.clip(center[1] - height / 2, 0, canvas - height))
    return Box(*(float(round(edge)) for edge in (x0, y0, x0 + width, y0 + height)))


def patch_labels(scene: Scene, crop: Box, view: View, cell: int) -> dict[str, np.ndarray]:
    """Label every visual token of a view with what is under it.

    Args:
        scene: the scene.
        crop: the part of the scene that the picture shows, in pixels of the scene.
        view: the token grid; its box is in pixels of the scene.
        cell: side of a token in pixels of the model's input.

    Returns:
        One int array ``(rows, cols)`` for each of `LABELS`. A value is the index of a word, the
        number of words where no word fits, or `IGNORE` where it is not decided.
    """
    rows, cols = view.shape
    labels = {name: np.full((rows, cols), len(words)) for name, words in LABELS.items()}
    labels["columns"][:] = _thirds(cols)
    labels["rows"][:] = _thirds(rows)[:, None]

    # Sides and edges of the tokens in pixels of the scene.
    height, width = view.box.height / rows, view.box.width / cols
    edges_x = view.box.x0 + width * np.arange(cols + 1)
    edges_y = view.box.y0 + height * np.arange(rows + 1)

    # A token is labelled by the part of the scene that covers it best.
    best = np.zeros((rows, cols))
    for part in _parts(scene):
        visible = part.box.intersection(crop)
        if visible is None:
            continue

        # Overlap of the part with every token: (cols,) times (rows,) gives (rows, cols).
        across = _overlap(edges_x, visible.x0, visible.x1)
        down = _overlap(edges_y, visible.y0, visible.y1)
        area = down[:, None] * across[None, :]

        # A part that is smaller than a token covers it if most of the part lies in this token.
        covered = np.maximum(area / (height * width), 0.75 * area / part.box.area)
        won = covered > best
        best[won] = covered[won]
        for name in ("colors", "letters", "places"):
            labels[name][won] = IGNORE

        # Ask only for what a reader could tell: a part that is large enough at the model's input,
        # and a letter that is not cut off.
        seen = min(part.box.width, part.box.height) * cell / max(height, width)
        clear = won & (covered >= 0.3) & (seen >= COLOR_PIXELS)
        labels["colors"][clear] = _index("colors", part.color)
        if not part.letter or (visible.area >= 0.75 * part.box.area and seen >= LETTER_PIXELS):
            labels["letters"][clear] = _index("letters", part.letter)
            labels["places"][clear] = _index("places", part.place)

    return labels


def _parts(scene: Scene) -> Iterator[Cell]:
    """Yield the parts of all elements of a scene, each with one color and at most one letter."""
    for element in scene.elements:
        yield from element.cells()


def _thirds(count: int) -> np.ndarray:
    """Return 0 for the first third of a row of tokens, 1 for the last, and 2 between them."""
    numbers = np.arange(count)
    return np.select([3 * numbers < count - 1, 3 * numbers > 2 * count - 2], [0, 1], 2)


def _overlap(edges: np.ndarray, start: float, end: float) -> np.ndarray:
    """Return how many pixels of each cell lie between ``start`` and ``end``, ``(cells,)``."""
    return np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)


def _index(name: str, word: str) -> int:
    """Return the label of a word; the number of words stands for "none of them"."""
    words = LABELS[name]
    return words.index(word) if word in words else len(words)


class StageBatches(Dataset):
    """The batches of one stage, from step ``start`` on.

    Each batch is drawn from (seed, stage number, step), so it does not depend on earlier batches.

    Args:
        stage: what to draw.
        number: number of the stage in the recipe.
        processor: the processor of the model.
        recipe: sizes of scenes and visual tokens.
        family: the adapter of the family, for the chat content and the token grids.
        config: the configuration of the model.
        seed: seed of the training.
        start: first step.
    """

    def __init__(
        self,
        stage: Stage,
        number: int,
        processor: Any,
        recipe: Recipe,
        family: Family,
        config: Any,
        *,
        seed: int,
        start: int = 0,
    ) -> None:
        self.stage, self.number = stage, number
        self.seed, self.start = seed, start
        self.processor, self.config = processor, config
        self.recipe, self.family = recipe, family

    def __len__(self) -> int:
        """Return the number of batches that are left."""
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
        """Return the tensors of pictures, and for each of `LABELS` a tensor ``(tokens,)``."""
        pictures: list[dict[str, Tensor]] = []
        labels: dict[str, list[np.ndarray]] = {name: [] for name in LABELS}

        # Four pictures per scene: the full one, where it is shown, and crops.
        while len(pictures) < self.stage.batch:
            scene = self._scene(rng, self._kind(rng))
            picture = draw_scene(scene)
            for crop in self._shown(rng, scene):
                inputs, token_labels = self._labelled(scene, picture.crop(crop.xyxy()), crop)
                pictures.append(inputs)
                for name, values in token_labels.items():
                    labels[name].append(values)

        merged = _merge(pictures)
        for name, parts in labels.items():
            merged[name] = torch.tensor(np.concatenate(parts))
        return merged

    def _shown(self, rng: np.random.Generator, scene: Scene) -> list[Box]:
        """Draw the four parts of a scene that an alignment batch shows, in pixels of the scene."""
        full = Box(0, 0, *map(float, scene.size))
        boxes = [] if rng.random() < self.stage.close_ups else [full]

        while len(boxes) < 4:
            element = scene.elements[rng.integers(len(scene.elements))]
            boxes.append(self._crop(rng, element.evidence))
        return boxes

    def _labelled(
        self, scene: Scene, shown: Image.Image, crop: Box
    ) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
        """Return the tensors of a picture, and the labels of its visual tokens, ``(tokens,)`` each.

        Newline tokens keep the label `IGNORE`, because they lie in no view.
        """
        inputs = dict(
            self.processor(text=self.processor.image_token, images=[shown], return_tensors="pt")
        )
        tokens = int((inputs["input_ids"] == self.config.image_token_id).sum())
        views = self.family.views(self.config, self.processor, inputs, shown.size)

        labels = {name: np.full(tokens, IGNORE) for name in LABELS}
        for view in views.values():
            # From pixels of the crop to pixels of the scene.
            box = Box(
                view.box.x0 + crop.x0,
                view.box.y0 + crop.y0,
                view.box.x1 + crop.x0,
                view.box.y1 + crop.y0,
            )
            grids = patch_labels(scene, crop, replace(view, box=box), self.recipe.cell)
            for name, grid in grids.items():
                labels[name][view.token_indices] = grid

        pictures = {name: value for name, value in inputs.items() if name not in _OF_THE_TEXT}
        return pictures, labels

    def _kind(self, rng: np.random.Generator) -> str:
        """Draw the kind of the next picture, a key of `MIXTURE`."""
        if not self.stage.mixture:
            return "scenes"

        shares = np.array(
            [share * self.stage.emphasis.get(kind, 1.0) for kind, share in MIXTURE.items()]
        )
        return str(rng.choice(list(MIXTURE), p=shares / shares.sum()))

    def _scene(self, rng: np.random.Generator, kind: str) -> Scene:
        """Draw a scene of this kind."""
        if kind in MINIATURES:
            return MINIATURES[kind].scene(rng, self.recipe.canvas, training=True)

        return sample_scene(rng, sides=self.stage.sides, canvas=self.recipe.canvas)

    def _crop(self, rng: np.random.Generator, evidence: Box | None) -> Box:
        return sample_crop(rng, evidence, self.recipe.canvas, self.stage.zoom)

    def _text_batch(self, rng: np.random.Generator, crops: int) -> dict[str, Tensor]:
        """Return the processor's tensors and ``labels`` ``(batch, positions)``.

        A label is the token id where an answer stands, and `IGNORE` elsewhere.
        """
        dialogues, pictures, answers = [], [], []
        for _ in range(self.stage.batch):
            turns, shown = self._text_example(rng, crops)
            text, spans = self._dialogue(turns, len(shown))
            dialogues.append(text)
            pictures.append(shown)
            answers.append(spans)

        inputs = self.processor(
            text=dialogues, images=pictures, return_tensors="pt", padding=True, padding_side="right"
        )
        # Padding is on the right, so a causal model needs no mask.
        lengths = inputs.pop("attention_mask").sum(1)

        ids = inputs["input_ids"]
        labels = torch.full_like(ids, IGNORE)
        for row, (spans, length) in enumerate(zip(answers, lengths.tolist(), strict=True)):
            for start, end in spans:
                place = slice(length - start, length - end)
                labels[row, place] = ids[row, place]

        # Only the letters of a caption are learned: which card comes next is random.
        if self.stage.kind == "caption":
            letters = torch.tensor(self.processor.tokenizer.convert_tokens_to_ids(list(READABLE)))
            labels[~torch.isin(labels, letters)] = IGNORE

        return {**inputs, "labels": labels}

    def _text_example(
        self, rng: np.random.Generator, crops: int
    ) -> tuple[list[tuple[str, str]], list[Image.Image]]:
        """Return (question, answer) turns, and the pictures: the scene, then its crops."""
        kind = self._kind(rng)
        scene = self._scene(rng, kind)
        picture = draw_scene(scene)

        evidence: list[Box] = []
        if self.stage.kind == "caption":
            order = rng.permutation(len(scene.elements))
            cards = [f"{scene.elements[i].color} {scene.elements[i].text}" for i in order]
            turns = [("List the cards.", " ".join(cards))]
        else:
            questions = _questions(rng, kind, scene)
            turns = [_turn(kind, Drawn(0, scene, picture, question)) for question in questions]
            for question in questions:
                evidence += question.evidence

        # Three of four crops show evidence, the others lie anywhere.
        pictures = [picture]
        for _ in range(crops):
            near = evidence and rng.random() < 0.75
            box = self._crop(rng, evidence[rng.integers(len(evidence))] if near else None)
            pictures.append(picture.crop(box.xyxy()))
        return turns, pictures

    def _dialogue(
        self, turns: list[tuple[str, str]], images: int
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the dialogue in the chat format, and the (start, end) of each answer.

        Starts and ends are numbers of tokens, counted from the end of the text. Counted from its
        front they would depend on the size of the pictures.
        """
        messages: list[dict[str, Any]] = []
        marks: list[
            int
        ] = []  # in characters: start and end of the first answer, of the second, ...
        template = self.processor.apply_chat_template
        for question, answer in turns:
            # All pictures belong to the first question.
            content = self.family.content(question, 0 if messages else images)
            messages.append({"role": "user", "content": content})
            asked = template(messages, add_generation_prompt=True, tokenize=False)

            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            text = template(messages, tokenize=False)
            marks += [len(asked), len(text)]

        lengths = [len(ids) for ids in self._ids([text[mark:] for mark in marks])]
        return text, list(zip(lengths[::2], lengths[1::2], strict=True))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]


def _questions(rng: np.random.Generator, kind: str, scene: Scene) -> list[Question]:
    """Draw `TURNS` questions about a scene."""
    if kind in MINIATURES:
        return [MINIATURES[kind].ask(rng, scene) for _ in range(TURNS)]
    return sample_questions(rng, scene, TURNS)


def _turn(kind: str, drawn: Drawn) -> tuple[str, str]:
    """Return the benchmark's prompt for a question, and the answer that the tiny VLM learns.

    Where the prompt asks for the letter of an option, the answer is the text of the option, which
    `parse_choice` reads as well. A model of 4 layers of width 128 did not learn to look the letter
    up (docs/tiny_vlms.md).
    """
    question: Question = drawn.question
    if kind not in MINIATURES:
        return question.text, question.answer

    row = {**MINIATURES[kind].row(drawn), "image": drawn.image}
    example = next(BENCHMARKS[kind].examples(row, "0", Protocol()))
    return example.prompt, question.answer


def _merge(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the tensors of single pictures along their first dimension.

    A picture with fewer tiles than another gets empty ones, which no model looks at.
    """
    most = max(part["pixel_values"].shape[1] for part in parts)

    def filled(name: str, tensor: Tensor) -> Tensor:
        # Only LLaVA-NeXT has pixels of shape (pictures, tiles, channels, height, width).
        if name != "pixel_values" or tensor.ndim < 5 or len(tensor[0]) == most:
            return tensor

        empty = tensor.new_zeros(1, most - tensor.shape[1], *tensor.shape[2:])
        return torch.cat([tensor, empty], 1)

    merged = {}
    for name in parts[0]:
        merged[name] = torch.cat([filled(name, part[name]) for part in parts])
    return merged
