"""Train a tiny VLM from scratch: ``eg train``.

Training has stages. It writes checkpoints, and the same command resumes from the last one.
"""

import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProcessorMixin

from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.config import register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.verbatim import Place
from entropy_grounding.evaluation.provenance import commit
from entropy_grounding.tiny.architectures import RECIPES
from entropy_grounding.tiny.batches import IGNORE, LABELS, Stage, StageBatches
from entropy_grounding.tiny.cards import CARD, model_card
from entropy_grounding.tiny.weight_transfer import inherit, shared_words
from entropy_grounding.tracking import TrackingConfig, tracked_run
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.registry import FAMILIES

# Labels that say where in the picture a token lies. Every token has them, so they count less.
POSITIONS = ("columns", "rows")
POSITION_WEIGHT = 0.3
RELEASE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """Options of the training command; the recipes themselves are in ``conf/recipe``.

    Attributes:
        family: which tiny VLM.
        start_from: weights to start from, as far as they fit, one after the other; none starts from
            random ones.
        language_from: weights of which only the language model is taken, after ``start_from``.
        first_stage: number of the first stage to train, from 0; with ``start_from``, to grow from
            weights that have seen the earlier ones.
        seed: seed of weights and batches.
        device: "cpu" or "cuda".
        threads: of torch; one more process draws the pictures.
        checkpoint_every: steps between checkpoints.
        run_dir: where checkpoints and logs go; the same folder resumes.
        output: folder of the released weights; default: ``release`` in the run folder.
        release_dtype: dtype of the released weights: float32, or bfloat16 at half the size.
        stages: what to learn, in order.
        tracking: W&B.
    """

    family: str = "llava"
    start_from: list[Place] = field(default_factory=list)
    language_from: Place | None = None
    first_stage: int = 0
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    checkpoint_every: int = 200
    run_dir: Place = "outputs/train/llava"
    output: Place | None = None
    release_dtype: str = "float32"
    stages: tuple[Stage, ...] = ()
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


register("train_schema", TrainConfig)


class Student(nn.Module):
    """The model, with the parameters that only the alignment stage needs.

    These are a temperature, and one logit per question of `LABELS` for "none of the words".
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model: Any = model
        self.log_scale = nn.Parameter(torch.tensor(2.3))  # cosines are first multiplied by 10
        self.background = nn.Parameter(torch.zeros(len(LABELS)))


def visual_tokens(student: Student, batch: dict[str, Tensor]) -> Tensor:
    """Return the visual tokens of an alignment batch, ``(tokens, dim)``."""
    pictures = {name: value for name, value in batch.items() if name not in LABELS}
    encoded = student.model.get_image_features(**pictures, return_dict=True).pooler_output

    # One tensor per picture or tile; the last dimension is that of a token.
    flat = [features.reshape(-1, features.shape[-1]) for features in encoded]
    return torch.cat(flat).float()


@torch.no_grad()
def scale_tokens(student: Student, batch: dict[str, Tensor], norm: float, projector: str) -> None:
    """Scale the last layer of the projector, so that visual tokens have this mean norm.

    The directions of the tokens stay the same.
    """
    factor = norm / visual_tokens(student, batch).norm(dim=-1).mean()
    for parameter in student.model.model.get_submodule(projector).parameters():
        parameter.mul_(factor)


def alignment_loss(
    student: Student, batch: dict[str, Tensor], words: dict[str, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Classify every visual token against the word embeddings of each of `LABELS`.

    The logits are cosines times a learned scale.

    Returns:
        The loss, and the accuracy for each of `LABELS` on the tokens that have a word.
    """
    tokens = F.normalize(visual_tokens(student, batch), dim=-1)
    embeddings = student.model.get_input_embeddings().weight.float()

    loss, report = torch.zeros(()), {}
    for index, kind in enumerate(LABELS):
        # (tokens, words), then one more column for "none of the words".
        directions = F.normalize(embeddings[words[kind]], dim=-1)
        similarity = tokens @ directions.T * student.log_scale.exp()
        nothing = student.background[index].expand(len(similarity), 1)
        logits = torch.cat([similarity, nothing], -1)

        # Most tokens show no card, so "none" counts a tenth of a word.
        target = batch[kind]
        weight = torch.ones(logits.shape[-1])
        weight[-1] = 1.0 if kind in POSITIONS else 0.1
        loss = loss + (POSITION_WEIGHT if kind in POSITIONS else 1.0) * F.cross_entropy(
            logits, target, weight=weight.to(logits.device), ignore_index=IGNORE
        )

        named = (target != IGNORE) & (target != logits.shape[-1] - 1)
        report[f"{kind}_accuracy"] = (logits.argmax(-1) == target)[named].float().mean().item()

    return loss, report


def answer_loss(student: Student, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Return the cross-entropy of the answer tokens, and their accuracy.

    Logits are computed only at the positions of answers, to save time and memory.
    """
    model = student.model
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    hidden = model.model(**inputs, use_cache=False).last_hidden_state

    # Position i predicts token i + 1. Answers become one row per token: (tokens, vocabulary).
    target = batch["labels"][:, 1:]
    kept = target != IGNORE
    logits = model.lm_head(hidden[:, :-1][kept]).float()
    target = target[kept]

    accuracy = (logits.argmax(-1) == target).float().mean().item()
    return F.cross_entropy(logits, target), {"answer_accuracy": accuracy}


def optimizer_for(
    student: Student, stage: Stage
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and its schedule: 5 % warm-up, then a cosine to zero.

    The vision tower has a learning rate of its own. With ``stage.keep_words`` the word embeddings
    are not trained.
    """
    model = student.model.model
    vision = model.vision_tower if hasattr(model, "vision_tower") else model.visual  # Qwen's name
    tower = {id(parameter) for parameter in vision.parameters()}
    frozen = {id(student.model.get_input_embeddings().weight)} if stage.keep_words else set()

    # Tensors compare element by element, so membership is asked by identity.
    in_tower, elsewhere = [], []
    for parameter in student.parameters():
        if id(parameter) in tower:
            in_tower.append(parameter)
        elif id(parameter) not in frozen:
            elsewhere.append(parameter)

    rate = stage.learning_rate
    groups = [
        {"params": in_tower, "lr": rate * stage.tower_scale},
        {"params": elsewhere, "lr": rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[rate * stage.tower_scale, rate],
        total_steps=stage.steps
        + 1,  # one more, because the schedule also moves after the last step
        pct_start=0.05,
        div_factor=20,
        cycle_momentum=False,
    )
    return optimizer, schedule


class Trainer:
    """Run the stages of a recipe in order.

    ``checkpoint.pt`` in the run folder holds everything that a resumed run needs.
    """

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config = config
        self.folder = Path(config.run_dir)
        self.stages = config.stages

        if config.family not in RECIPES:
            raise InputError(
                f"Unknown family '{config.family}': there is a recipe for {', '.join(RECIPES)}."
            )
        self.recipe = RECIPES[config.family]
        check_choice("release_dtype", config.release_dtype, RELEASE_DTYPES)
        model, self.processor = self.recipe.build()

        # Later donors overwrite what earlier ones gave.
        for weights in (*config.start_from, config.language_from):
            if weights:
                donor = load_vlm(VLMConfig(weights=weights))
                inherit(
                    model,
                    donor.model,
                    shared_words(self.processor, donor.processor),
                    language_only=weights == config.language_from,
                )

        self.student = Student(model).to(config.device)
        # Token ids of the words of each question.
        ids = self.processor.tokenizer.convert_tokens_to_ids
        self.words = {name: torch.tensor(ids(list(words))) for name, words in LABELS.items()}

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint."""
        return self.folder / "checkpoint.pt"

    def fit(self) -> Path:
        """Run the stages and steps that are left, and return the folder of the saved model."""
        state: dict[str, Any] = {"stage": self.config.first_stage, "step": 0}
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
        if "student" in state:
            self.student.load_state_dict(state["student"])

        with tracked_run(
            self.config.tracking,
            self.folder,
            job_type="train",
            config=asdict(self.config),
            name=self.config.family,
            tags=[self.config.family],
        ) as run:
            for number in range(state["stage"], len(self.stages)):
                resumed = state if number == state["stage"] else {"step": 0}
                self._fit_stage(number, resumed, run)

        return self._release()

    def _fit_stage(self, number: int, state: dict[str, Any], run: Any) -> None:
        """Run the steps of a stage that are left, then save a checkpoint for the next stage."""
        stage = self.stages[number]
        optimizer, schedule = optimizer_for(self.student, stage)
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])

        self.student.train()
        bar = tqdm(
            self._loader(number, state["step"]),
            desc=f"stage {number + 1}/{len(self.stages)} {stage.kind}",
            initial=state["step"],
            total=stage.steps,
        )
        for step, batch in enumerate(bar, start=state["step"] + 1):
            batch = self._on_device(batch)
            loss, report = self._step(stage, batch, optimizer)
            schedule.step()

            values = {"loss": loss, **report}
            bar.set_postfix(loss=f"{loss:.3f}", **{k: f"{v:.2f}" for k, v in report.items()})
            run.log({f"{stage.kind}/{name}": value for name, value in values.items()})

            # The end of a stage has a checkpoint of its own, without an optimizer.
            if step % self.config.checkpoint_every == 0 and step < stage.steps:
                self._save(
                    stage=number,
                    step=step,
                    optimizer=optimizer.state_dict(),
                    schedule=schedule.state_dict(),
                )

        if stage.token_norm:
            # The last batch is enough to estimate a mean norm.
            scale_tokens(self.student, batch, stage.token_norm, self.recipe.projector)
        self._save(stage=number + 1, step=0)

    def _loader(self, number: int, start: int) -> Iterable[dict[str, Tensor]]:
        """Return the batches of a stage from step ``start`` on, drawn by one more process."""
        model = self.student.model
        batches = StageBatches(
            self.stages[number],
            number,
            self.processor,
            self.recipe,
            FAMILIES[type(model).__name__],
            model.config,
            seed=self.config.seed,
            start=start,
        )

        # Items of the dataset are whole batches already.
        return DataLoader(
            batches, batch_size=None, shuffle=False, num_workers=1, worker_init_fn=_one_thread
        )

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.config.device) for name, value in batch.items()}

    def _step(
        self, stage: Stage, batch: dict[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> tuple[float, dict[str, float]]:
        """Train on one batch, and return its loss and accuracies."""
        with torch.autocast(
            self.config.device, torch.bfloat16, enabled=_has_bfloat16(self.config.device)
        ):
            if stage.kind == "align":
                loss, report = alignment_loss(self.student, batch, self.words)
            else:
                loss, report = answer_loss(self.student, batch)

        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        optimizer.step()
        return loss.item(), report

    def _save(self, **progress: Any) -> None:
        """Write the checkpoint; an interrupted write leaves the last one as it was."""
        self.folder.mkdir(parents=True, exist_ok=True)

        partial = self.checkpoint.with_suffix(".partial")
        torch.save({"student": self.student.state_dict(), **progress}, partial)
        partial.replace(self.checkpoint)

    def _release(self) -> Path:
        """Save model and processor as a folder that `AutoModelForImageTextToText` can load.

        An earlier release is replaced only when the new one is complete.
        """
        output = Path(self.config.output or self.folder / "release")
        partial = output.with_name(output.name + ".partial")
        dtype = getattr(torch, self.config.release_dtype)
        save_release(self.student.model, self.processor, partial, dtype)
        (partial / CARD).write_text(self._card())

        shutil.rmtree(output, ignore_errors=True)
        partial.replace(output)
        return output

    def _card(self) -> str:
        """Return the model card of what is released."""
        model = self.student.model
        return model_card(
            self.config.family,
            type(model).__name__,
            model.num_parameters(),
            self.config.release_dtype,
            self.stages,
            commit(),
        )


def save_release(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    folder: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write weights (safetensors), configuration, processor and tokenizer to ``folder``."""
    model.eval().to("cpu", dtype).save_pretrained(folder)
    processor.save_pretrained(folder)


def _has_bfloat16(device: str) -> bool:
    """Tell whether the hardware computes bfloat16.

    A CPU that emulates it needs ten times as long as with float32.
    """
    return device != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _one_thread(_: int) -> None:
    # The process that draws pictures shares the cores with the one that trains.
    torch.set_num_threads(1)
