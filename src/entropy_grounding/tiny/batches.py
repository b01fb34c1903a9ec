"""Training batches of the tiny VLMs; batch number ``step`` of a stage is the same on every machine and in every resumed run."""

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
from entropy_grounding.benchmarks.miniature.scenes import CANVAS, Scene, draw_scene, sample_scene
from entropy_grounding.benchmarks.miniature.words import COLORS, READABLE
from entropy_grounding.core.geometry import Box, View
from entropy_grounding.tiny.architectures import Recipe
from entropy_grounding.vlm.family import Family

IGNORE = -100
_OF_THE_TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")
LETTER_PIXELS, COLOR_PIXELS = (
    4.8,
    3.0,
)  # side of a cell at the model's input from which its letter, its color is asked for
# What alignment asks of every visual token, each a set of words: the color and the letter under it, whether that letter is the first or the
# last of several, and which third of the picture it lies in (the middle ones are neither).
LABELS: dict[str, tuple[str, ...]] = {
    "colors": tuple(COLORS),
    "letters": READABLE,
    "places": ("first", "last"),
    "columns": ("left", "right"),
    "rows": ("top", "bottom"),
}
# Share of each kind of picture in training; "scenes" are the cards of the check and of the notebooks.
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
TURNS = 5  # questions a picture


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
    zoom: tuple[float, float] = (
        1.2,
        7.0,
    )  # side of a crop around evidence, relative to the evidence
    close_ups: float = 0.0  # share of the scenes in alignment that are shown by crops only
    keep_words: bool = False  # word embeddings stay as another family learned them
    mixture: bool = False  # all kinds of pictures, instead of cards only
    emphasis: dict[str, float] = field(default_factory=dict)  # factors on the shares of `MIXTURE`
    token_norm: float | None = (
        None  # visual tokens are scaled to it at the end: the norm that an inherited language model knows
    )


def sample_crop(
    rng: np.random.Generator,
    evidence: Box | None,
    canvas: int = CANVAS,
    zoom: tuple[float, float] = (1.2, 7.0),
) -> Box:
    """Draw a crop of a scene: jittered around ``evidence`` at ``zoom`` times its side, or anywhere when it is None."""
    aspect = np.exp(rng.uniform(-0.7, 0.7))
    if evidence is None:
        side = np.exp(rng.uniform(np.log(28), np.log(0.625 * canvas)))
        center = rng.uniform(0, canvas, 2)
    else:
        longer = max(evidence.width, evidence.height)
        side = longer * np.exp(rng.uniform(*np.log(zoom)))
        slack = max(side - longer, 0.0) / 2
        center = np.asarray(evidence.center) + rng.uniform(-slack, slack, 2)
    width, height = (
        float(np.clip(v, 16, canvas)) for v in (side * aspect**0.5, side / aspect**0.5)
    )
    x0 = float(np.clip(center[0] - width / 2, 0, canvas - width))
    y0 = float(np.clip(center[1] - height / 2, 0, canvas - height))
    return Box(*(float(round(v)) for v in (x0, y0, x0 + width, y0 + height)))


def patch_labels(scene: Scene, crop: Box, view: View, cell: int) -> dict[str, np.ndarray]:
    """Label every visual token of a view with what is under it.

    Args:
        scene: the scene.
        crop: the part of it that the picture shows.
        view: the token grid; its box is in pixels of the scene.
        cell: side of a token in pixels of the model's input.

    Returns:
        For each of `LABELS` an int array ``(rows, cols)``: indices of words, their number for none, `IGNORE` where undecided.
    """
    rows, cols = view.shape
    found = {name: np.full((rows, cols), len(words)) for name, words in LABELS.items()}
    found["columns"][:] = [
        0 if 3 * col < cols - 1 else 1 if 3 * col > 2 * cols - 2 else 2 for col in range(cols)
    ]
    found["rows"][:] = [
        [0 if 3 * row < rows - 1 else 1 if 3 * row > 2 * rows - 2 else 2] for row in range(rows)
    ]
    height, width = view.box.height / rows, view.box.width / cols
    edges_x, edges_y = (
        view.box.x0 + width * np.arange(cols + 1),
        view.box.y0 + height * np.arange(rows + 1),
    )
    best = np.zeros((rows, cols))
    for part in (part for element in scene.elements for part in element.cells()):
        visible = part.box.intersection(crop)
        if visible is None:
            continue
        across = np.clip(
            np.minimum(edges_x[1:], visible.x1) - np.maximum(edges_x[:-1], visible.x0), 0, None
        )
        down = np.clip(
            np.minimum(edges_y[1:], visible.y1) - np.maximum(edges_y[:-1], visible.y0), 0, None
        )
        area = down[:, None] * across[None, :]
        covered = np.maximum(area / (height * width), 0.75 * area / part.box.area)
        won = covered > best
        best[won] = covered[won]
        for name in ("colors", "letters", "places"):
            found[name][won] = IGNORE
        seen = min(part.box.width, part.box.height) * cell / max(height, width)
        clear = won & (covered >= 0.3) & (seen >= COLOR_PIXELS)
        found["colors"][clear] = _index("colors", part.color)
        if not part.letter or (visible.area >= 0.75 * part.box.area and seen >= LETTER_PIXELS):
            found["letters"][clear] = _index("letters", part.letter)
            found["places"][clear] = _index("places", part.place)
    return found


def _index(name: str, word: str) -> int:
    words = LABELS[name]
    return words.index(word) if word in words else len(words)


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
        labels: list[dict[str, np.ndarray]] = []
        while len(parts) < self.stage.batch:
            scene = self._scene(rng, self._kind(rng))
            picture = draw_scene(scene)
            crops = (
                [] if rng.random() < self.stage.close_ups else [Box(0, 0, *map(float, scene.size))]
            )
            while len(crops) < 4:
                crops.append(
                    self._crop(rng, scene.elements[rng.integers(len(scene.elements))].evidence)
                )
            for crop in crops:
                inputs, found = self._labelled(scene, picture.crop(crop.xyxy()), crop)
                parts.append(inputs)
                labels.append(found)
        return {
            **_merge(parts),
            **{
                name: torch.tensor(np.concatenate([found[name] for found in labels]))
                for name in LABELS
            },
        }

    def _labelled(
        self, scene: Scene, shown: Image.Image, crop: Box
    ) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
        """Return a picture's tensors and the labels of each of its visual tokens; newline tokens have none."""
        inputs = dict(
            self.processor(text=self.processor.image_token, images=[shown], return_tensors="pt")
        )
        tokens = int((inputs["input_ids"] == self.config.image_token_id).sum())
        views = self.family.views(self.config, self.processor, inputs, shown.size)
        labels = {name: np.full(tokens, IGNORE) for name in LABELS}
        for view in views.values():
            box = Box(
                view.box.x0 + crop.x0,
                view.box.y0 + crop.y0,
                view.box.x1 + crop.x0,
                view.box.y1 + crop.y0,
            )
            for name, found in patch_labels(
                scene, crop, replace(view, box=box), self.recipe.cell
            ).items():
                labels[name][view.token_indices] = found
        return {name: value for name, value in inputs.items() if name not in _OF_THE_TEXT}, labels

    def _kind(self, rng: np.random.Generator) -> str:
        if not self.stage.mixture:
            return "scenes"
        shares = np.array(
            [share * self.stage.emphasis.get(kind, 1.0) for kind, share in MIXTURE.items()]
        )
        return str(rng.choice(list(MIXTURE), p=shares / shares.sum()))

    def _scene(self, rng: np.random.Generator, kind: str) -> Scene:
        if kind in MINIATURES:
            return MINIATURES[kind].scene(rng, self.recipe.canvas, training=True)
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
        inputs = self.processor(
            text=dialogues, images=pictures, return_tensors="pt", padding=True, padding_side="right"
        )
        lengths = inputs.pop("attention_mask").sum(
            1
        )  # padding is on the right, so a causal model needs no mask
        labels = torch.full_like(inputs["input_ids"], IGNORE)
        for row, (spans, length) in enumerate(zip(answers, lengths.tolist(), strict=True)):
            for start, end in spans:
                labels[row, length - start : length - end] = inputs["input_ids"][
                    row, length - start : length - end
                ]
        if self.stage.kind == "caption":
            letters = torch.tensor(self.processor.tokenizer.convert_tokens_to_ids(list(READABLE)))
            labels[~torch.isin(labels, letters)] = IGNORE
        return {**inputs, "labels": labels}

    def _text_example(
        self, rng: np.random.Generator, crops: int
    ) -> tuple[list[tuple[str, str]], list[Image.Image]]:
        """Return (question, answer) turns and the pictures: the scene, then its crops."""
        kind = self._kind(rng)
        scene = self._scene(rng, kind)
        picture = draw_scene(scene)
        if self.stage.kind == "caption":
            listed = [scene.elements[i] for i in rng.permutation(len(scene.elements))]
            turns = [("List the cards.", " ".join(f"{e.color} {e.text}" for e in listed))]
            evidence: list[Box] = []
        else:
            many = kind in MINIATURES
            questions = (
                [MINIATURES[kind].ask(rng, scene) for _ in range(TURNS)]
                if many
                else sample_questions(rng, scene, TURNS)
            )
            turns = [_turn(kind, Drawn(0, scene, picture, question)) for question in questions]
            evidence = [box for q in questions for box in q.evidence]
        boxes = []
        for _ in range(crops):
            near = evidence and rng.random() < 0.75
            boxes.append(self._crop(rng, evidence[rng.integers(len(evidence))] if near else None))
        return turns, [picture, *(picture.crop(box.xyxy()) for box in boxes)]

    def _dialogue(
        self, turns: list[tuple[str, str]], images: int
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return the chat-formatted dialogue, and where each answer starts and ends, in tokens counted from the end of the text."""
        messages: list[dict[str, Any]] = []
        marks: list[tuple[int, int]] = []
        for question, answer in turns:
            messages.append(
                {
                    "role": "user",
                    "content": self.family.content(question, 0 if messages else images),
                }
            )
            asked = len(
                self.processor.apply_chat_template(
                    messages, add_generation_prompt=True, tokenize=False
                )
            )
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
            text = self.processor.apply_chat_template(messages, tokenize=False)
            marks.append((asked, len(text)))
        lengths = [
            len(ids) for ids in self._ids([text[mark:] for marked in marks for mark in marked])
        ]
        return text, list(zip(lengths[::2], lengths[1::2], strict=True))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]


def _turn(kind: str, drawn: Drawn) -> tuple[str, str]:
    """Return the prompt that the benchmark makes of this question, and the answer that the tiny VLM learns to give.

    Where a letter is asked for, that is the text of the option, which `choices.parse_choice` reads as well: 4 layers of width 128 did not
    learn to look the letter up (docs/tiny_vlms.md).
    """
    question: Question = drawn.question
    if kind not in MINIATURES:
        return question.text, question.answer
    row = {**MINIATURES[kind].row(drawn), "image": drawn.image}
    return next(BENCHMARKS[kind].examples(row, "0", Protocol())).prompt, question.answer


def _merge(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the tensors of single pictures; pictures with fewer tiles are filled up with empty ones, which no model looks at."""
    most = max(part["pixel_values"].shape[1] for part in parts)

    def filled(name: str, tensor: Tensor) -> Tensor:
        if name != "pixel_values" or tensor.ndim < 5 or len(tensor[0]) == most:
            return tensor
        return torch.cat(
            [tensor, tensor.new_zeros(1, most - tensor.shape[1], *tensor.shape[2:])], 1
        )

    return {name: torch.cat([filled(name, part[name]) for part in parts]) for name in parts[0]}
