"""One image and one question: load them, and ground the question with a progress bar."""

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
from entropy_grounding.method.options import GroundingOptions
from entropy_grounding.method.stopping import Decision
from entropy_grounding.tracking import TrackingConfig
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.weights import model_type_of


def unknown_words(tokenizer: PreTrainedTokenizerFast, text: str) -> list[str]:
    """Return the words of ``text`` that ``tokenizer`` maps to its unknown token, in order, without repeats.

    A mark without a letter or digit is no word. Subword tokenizers have no such words: the list is then empty.
    """
    unknown = tokenizer.unk_token_id
    backend = tokenizer.backend_tokenizer
    if unknown is None or not isinstance(backend.model, models.WordLevel):
        return []
    encoding = backend.encode(text, add_special_tokens=False)
    found = [
        text[start:end]
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
        if token == unknown
    ]
    return list(dict.fromkeys(word for word in found if any(letter.isalnum() for letter in word)))


@dataclass(frozen=True)
class GroundConfig:
    """Options of ``python -m entropy_grounding.ground`` and of the quickstart notebook.

    Attributes:
        vlm: which model, from ``conf/vlm``.
        method: which preset, from ``conf/method``, and every option of it.
        tracking: Weights & Biases.
        image: a picture file; None takes a scene of the tiny VLM.
        question: the question; None takes the scene's own.
        seed: which scene.
        max_new_tokens: length limit of the answers.
        run_dir: where figure, JSON, crops and the W&B run go.
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

    Raises:
        InputError: when an override names an unknown option, preset or VLM, with what is available.
    """
    return compose_config(overrides, "ground", GroundConfig)


register("ground_schema", GroundConfig)


@dataclass(frozen=True)
class Task:
    """An image with a question; ``truth`` is known for drawn scenes only, ``sha256`` of the file's bytes for files only."""

    image: Image.Image
    question: str
    truth: str | None
    sha256: str | None = None


def load_task(config: GroundConfig) -> Task:
    """Return the user's image and question, or scene number ``seed`` with its own."""
    if config.image is None:
        if config.seed < 0:
            raise InputError(f"seed is {config.seed}: scenes are numbered from 0.")
        scene, asked = held_out_example(config.seed, canvas_of(model_type_of(config.vlm.weights)))
        return Task(
            draw_scene(scene),
            config.question or asked.text,
            None if config.question else asked.answer,
        )
    if not (config.question or "").strip():
        raise InputError('The question is empty: pass question="What is ...?" with the image.')
    return Task(load_image(config.image), str(config.question), None, _sha256(Path(config.image)))


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def warn_unknown_words(vlm: VLM, question: str) -> str:
    """Return a warning for words outside a word-level vocabulary (the tiny VLMs'), or an empty string."""
    unknown = unknown_words(vlm.processor.tokenizer, question)
    return (
        f"{vlm.name} does not know the words {', '.join(unknown)}: expect no sensible answer."
        if unknown
        else ""
    )


def run(vlm: VLM, task: Task, config: GroundConfig) -> Grounding:
    """Ground with a progress bar, one tick a round; a gate takes what was chosen for all benchmarks, for a picture belongs to none."""
    options = replace(config.method, gate=calibrated(config.method.gate, config.vlm.name))
    with tqdm(
        total=config.method.stopping.max_rounds or 1, desc="rounds (at most)", leave=False
    ) as bar:

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
