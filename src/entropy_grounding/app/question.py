"""Load one image and one question, and ground the question with a progress bar."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image
from tokenizers import models
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from entropy_grounding.benchmarks.miniature.questions import held_out_example
from entropy_grounding.benchmarks.miniature.scenes import canvas_of, draw_scene
from entropy_grounding.core.config import compose_config, register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import load_image
from entropy_grounding.core.records import Grounding
from entropy_grounding.core.verbatim import Place, Text
from entropy_grounding.grounding import ground
from entropy_grounding.method.gate import calibrated
from entropy_grounding.method.limits import within_budget
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import Decision
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import model_type_of


def unknown_words(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    """Return the words of ``text`` that the tokenizer does not know.

    The words are in the order of the text, without repeats. A mark without a letter or digit is no
    word. Subword tokenizers know all words, so the list is empty for them.
    """
    unknown = tokenizer.unk_token_id
    backend = tokenizer.backend_tokenizer
    if unknown is None or not isinstance(backend.model, models.WordLevel):
        return []

    encoding = backend.encode(text, add_special_tokens=False)
    words: dict[str, None] = {}  # a dictionary keeps the order and drops repeats
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        word = text[start:end]
        if token == unknown and any(letter.isalnum() for letter in word):
            words[word] = None

    return list(words)


@dataclass(frozen=True)
class GroundConfig:
    """Options of ``eg ground`` and of the quickstart notebook.

    Attributes:
        vlm: the model, from ``conf/vlm``.
        method: the preset, from ``conf/method``, and all its options.
        tracking: options of Weights & Biases.
        image: a picture file; None draws a scene of the miniature data.
        question: the question; None takes the question of the scene.
        seed: the number of the scene.
        max_new_tokens: the length limit of the answers, in tokens. An answer that it cuts off is
            named in the output and in the JSON file (``truncated``).
        run_dir: the folder of the figure, the JSON file, the crops and the W&B run.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    method: GroundingOptions = field(default_factory=GroundingOptions)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    image: Place | None = None
    question: Text | None = None
    seed: int = 0
    max_new_tokens: int = 16
    run_dir: Place = "outputs/ground"


def ground_config(overrides: Sequence[str] = ()) -> GroundConfig:
    """Compose the options of one grounding with Hydra overrides, for notebooks and tests.

    Args:
        overrides: Hydra overrides of ``conf/ground.yaml``.

    Raises:
        InputError: when an override names an unknown option, preset or VLM. The message says what
            is available.
    """
    return compose_config(overrides, "ground", GroundConfig)


register("ground_schema", GroundConfig)


@dataclass(frozen=True)
class Task:
    """An image with a question.

    Attributes:
        image: the image.
        question: the question.
        truth: the right answer; it is known only for the question of a drawn scene.
        sha256: the SHA-256 of the bytes of the image file; None for a drawn scene.
    """

    image: Image.Image
    question: str
    truth: str | None
    sha256: str | None = None


def load_task(config: GroundConfig) -> Task:
    """Return the image and question of the user, or a drawn scene with its question.

    Raises:
        InputError: for a negative seed, for an image without a question, and for an image that
            cannot be read.
    """
    if config.image is None:
        if config.seed < 0:
            raise InputError(f"seed is {config.seed}: scenes are numbered from 0.")

        # Each tiny VLM reads scenes of one size.
        canvas = canvas_of(model_type_of(config.vlm.weights))
        scene, asked = held_out_example(config.seed, canvas)
        truth = None if config.question else asked.answer
        return Task(draw_scene(scene), config.question or asked.text, truth)

    if not (config.question or "").strip():
        raise InputError('The question is empty: pass question="What is ...?" with the image.')

    return Task(load_image(config.image), str(config.question), None, _sha256(Path(config.image)))


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def warn_unknown_words(vlm: VLM, question: str) -> str:
    """Return a warning for words that a word-level tokenizer does not know, or an empty string.

    Only the tiny VLMs have such a tokenizer.
    """
    unknown = unknown_words(vlm.processor.tokenizer, question)
    if not unknown:
        return ""

    return f"{vlm.name} does not know the words {', '.join(unknown)}: expect no sensible answer."


def warn_cut_off(grounding: Grounding, max_new_tokens: int) -> str:
    """Return a warning for an answer that the length limit cut off, or an empty string."""
    if not grounding.truncated:
        return ""

    return (
        f"an answer was cut off after {max_new_tokens} tokens: ask again with "
        f"max_new_tokens={4 * max_new_tokens}, or ask for a single word or phrase."
    )


def run(vlm: VLM, task: Task, config: GroundConfig) -> Grounding:
    """Ground a question with a progress bar that moves once per zoom step.

    Args:
        vlm: the model.
        task: the image and the question.
        config: the options.
    """
    # A picture of the user belongs to no benchmark, so the gate takes its threshold for all.
    chosen = within_budget(config.method, config.vlm.name)
    options = replace(chosen, gate=calibrated(chosen.gate, config.vlm.name))
    most = config.method.stopping.max_rounds or 1

    with tqdm(total=most, desc="rounds (at most)", leave=False) as bar:

        def show(rounds: int, decision: Decision | None) -> None:
            bar.update(1)

        return ground(
            vlm,
            task.image,
            task.question,
            options,
            max_new_tokens=config.max_new_tokens,
            progress=show,
        )
