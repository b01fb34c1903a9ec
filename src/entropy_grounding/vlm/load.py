"""Load a VLM by its name, a hub id or a local folder.

The tiny ones and the 7B checkpoints take the same path.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    PreTrainedConfig,
)
from transformers.utils import is_bitsandbytes_available
from transformers.utils import logging as transformers_logging

from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.config import section_config
from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.vlm.config import DTYPES, QUANTIZATIONS, UNQUANTIZED, VLMConfig
from entropy_grounding.vlm.family import Family
from entropy_grounding.vlm.memory import warn_of_large_models
from entropy_grounding.vlm.model import VLM
from entropy_grounding.vlm.processors import (
    apply_budgets,
    check_processor,
    load_processor,
    padded,
)
from entropy_grounding.vlm.registry import family_of
from entropy_grounding.vlm.weights import (
    checked_folder,
    checked_source,
    weights_folder,
    weights_identities,
)


def load_vlm(config: VLMConfig | str = "tiny_llava") -> VLM:
    """Load a VLM, from a configuration or by its name in ``conf/vlm``; its parameters are frozen.

    Code that comes with a checkpoint is never run, and weights are read from safetensors files
    only.

    Raises:
        InputError: for an unknown name or option, an unsupported architecture, an unreachable hub,
            weights that do not belong to the preset, and a checkpoint that is incomplete, damaged,
            or does not fit together.
    """
    if isinstance(config, str):
        config = section_config("vlm", config, VLMConfig)
    check_options(config)
    # From the hub, too: what is cut off or missing in its cache is named before it is read.
    folder = str(checked_folder(config))

    with torch.inference_mode(False), _loading(config, folder), _quiet_progress():
        return _loaded(config, folder)


def check_options(config: VLMConfig) -> None:
    """Refuse unknown values, and devices that are not here, before anything is read."""
    check_choice("dtype", config.dtype, DTYPES)
    check_choice("image_fit", config.image_fit, ("as_released", "pad"))
    check_choice("quantization", config.quantization, QUANTIZATIONS)

    kind = config.device.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"vlm.device is '{config.device}', but torch sees no GPU: use vlm.device=cpu or auto."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError(
            f"vlm.device is '{config.device}', but torch sees no Apple GPU: "
            "use vlm.device=cpu or auto."
        )
    check_choice("vlm.device", kind, ("auto", "cpu", "cuda", "mps", "xpu", "meta"))


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read up to its weights, and whose parts fit together.

    Attributes:
        config: configuration of the model.
        processor: its processor, with the budgets of the configuration.
        family: the adapter of its family.
    """

    config: PreTrainedConfig
    processor: Any
    family: Family


def open_checkpoint(config: VLMConfig) -> Checkpoint:
    """Read configuration and processor, and check that they fit together; read no weights.

    Raises:
        InputError: as `load_vlm`.
    """
    check_options(config)
    source, revision = checked_source(config)
    with _loading(config, source), _quiet_progress():
        return read_checkpoint(config, source, revision)


def read_checkpoint(config: VLMConfig, source: str, revision: str | None = None) -> Checkpoint:
    """Read configuration and processor of a checkpoint, and check that they fit together.

    Nothing else of it need be here.

    Args:
        config: which checkpoint, and its budgets.
        source: local folder or hub id.
        revision: commit, tag or branch on the hub.

    Raises:
        InputError: where they do not fit together, or are not those of the preset.
    """
    # The architecture is read first: the class of its configuration may be code that is never run.
    named, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    family = family_of((named.get("architectures") or ["none"])[0], config)
    about = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    _check_preset(about, config)

    processor = load_processor(source, about, revision)
    check_processor(processor, about, family, config.weights)
    apply_budgets(processor.image_processor, config)
    if config.image_fit == "pad":
        processor.image_processor = padded(processor, config)
    return Checkpoint(about, processor, family)


def _loaded(config: VLMConfig, folder: str) -> VLM:
    """Load a checkpoint with its weights."""
    device = device_of(config)
    checkpoint = read_checkpoint(config, folder)
    processor, family = checkpoint.processor, checkpoint.family

    if device.type == "cpu":
        warn_of_large_models(checkpoint.config, processor, family, config)
    model = _model(folder, config, device)
    vlm = VLM(
        model.eval().requires_grad_(False),
        processor,
        family,
        config.name,
        config.grounding,
        system_prompt=config.system_prompt,
        image_labels=config.image_labels,
        attention_layer=config.attention_layer,
        neutral_question=config.neutral_question,
        checkpointing=config.checkpointing,
    )

    _rehearse(vlm, config)
    return vlm


def _model(folder: str, config: VLMConfig, device: torch.device) -> Any:
    """Load the weights, check that they fill the model, and move it to its device."""
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        folder,
        trust_remote_code=False,
        dtype=config.dtype,
        attn_implementation=config.attention,
        device_map=config.device_map or (device if config.quantization != "none" else None),
        quantization_config=quantization_of(config, device),
        use_safetensors=True,
        output_loading_info=True,
    )
    model, report = loaded
    _check_keys(report, config)

    if not getattr(model, "hf_device_map", None):
        model.to(device)
    return model


@contextmanager
def _loading(config: VLMConfig, source: str) -> Iterator[None]:
    """Turn whatever goes wrong while a checkpoint is loaded into one sentence.

    The original error is its cause.

    Raises:
        InputError: naming the weights, the reason and the remedy.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of transformers, safetensors, jinja2: no list is complete
        raise InputError(_why(config, source, error)) from error


@contextmanager
def _quiet_progress() -> Iterator[None]:
    """Hide the progress bars of loading, and leave the caller's setting as it was."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


# --- Checks ---


def _check_keys(report: Mapping[str, Any], config: VLMConfig) -> None:
    """Refuse weights that do not fill the model: the missing ones would be random.

    Raises:
        InputError: naming the first keys that are missing, and those that belong nowhere.
    """
    mismatched = (str(key[0]) for key in report["mismatched_keys"])
    missing = sorted({*report["missing_keys"], *mismatched})
    if not missing:
        return

    unknown = sorted(report["unexpected_keys"])
    said = f"; it has {_first(unknown)}, which belong nowhere" if unknown else ""
    raise InputError(
        f"The weights '{config.weights}' do not fit the model '{config.name}': "
        f"{_first(missing)} are missing or of another shape{said}. The model would be "
        "partly random: download the checkpoint again, or save it with save_pretrained."
    )


def _first(names: Sequence[str], count: int = 3) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(f"'{name}'" for name in names[:count]) + rest


def _check_preset(about: PreTrainedConfig, config: VLMConfig) -> None:
    """Refuse weights under the name of a preset that they are not.

    Their rows would stand under that name.

    A checkpoint of a preset may lie anywhere, and may be fine-tuned: its rows are told apart by
    their config hash. Another architecture or size needs a name of its own, and so do other weights
    under the name of a tiny VLM.

    Raises:
        InputError: naming what differs.
    """
    expected = config.expects
    if config.name != expected.name:
        return

    text = about.get_text_config()
    actual = {
        "architecture": (about.architectures or ["none"])[0],
        "width": text.hidden_size,
        "layers": text.num_hidden_layers,
    }
    differing = []
    for name, value in actual.items():
        if value != getattr(expected, name):
            differing.append(f"{name} {value}, not {getattr(expected, name)}")

    if expected.weights and not differing:
        ours = weights_identities(config.weights)["weights"][:12]
        theirs = weights_identities(expected.weights)["weights"][:12]
        if ours != theirs:
            differing.append(f"SHA-256 {ours}..., not {theirs}...")

    if differing:
        raise InputError(
            f"The weights '{config.weights}' are not those of '{config.name}' "
            f"({'; '.join(differing)}): give them a name of their own with vlm.name=NAME, "
            "and look through the other options of the preset."
        )


def _rehearse(vlm: VLM, config: VLMConfig) -> None:
    """Encode a small grey picture, so that a processor that does not fit is found now.

    Raises:
        InputError: where placeholders and visual tokens do not agree, or the placeholder is no word
            of the model.
    """
    vocabulary = vlm.model.get_input_embeddings().num_embeddings
    placeholder = vlm.model.config.image_token_id
    if not 0 <= placeholder < vocabulary:
        raise InputError(
            f"The image token {placeholder} of '{config.weights}' is "
            f"none of its {vocabulary} tokens: check its config.json."
        )

    try:
        picture = vlm.encode(Image.new("RGB", (96, 64), "gray"))
    except (InputError, KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"The processor of '{config.weights}' does not fit its model ({why}): use the "
            "processor and tokenizer files that came with these weights."
        ) from error

    placed = int((picture.tokens == placeholder).sum())
    if placed != len(picture.features):
        raise InputError(
            f"The processor of '{config.weights}' makes {placed} placeholders "
            f"of a picture and the model {len(picture.features)} visual tokens: "
            "use the processor files that came with these weights."
        )


# --- Where, and in which precision ---


def device_of(config: VLMConfig) -> torch.device:
    """Return the device of a model: the one that is named, or the first GPU, or the CPU."""
    if config.device != "auto":
        return torch.device(config.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quantization_of(config: VLMConfig, device: torch.device) -> BitsAndBytesConfig | None:
    """Return the settings of bitsandbytes; towers and output layer stay as they are.

    Its 4-bit kernels for CPUs with AVX512-BF16 repack the weights and pass no gradient through the
    layer: a map would be silently wrong.
    """
    if config.quantization == "none":
        return None
    if not is_bitsandbytes_available():
        raise InputError(
            "vlm.quantization needs bitsandbytes: pip install -c constraints.txt "
            "'entropy-grounding[quantization]'."
        )
    if config.quantization == "4bit" and device.type == "cpu":
        raise InputError(
            "vlm.quantization=4bit needs a GPU: "
            "on a CPU its kernels drop gradients. Use 8bit or none."
        )

    skipped = list(UNQUANTIZED)
    if config.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=skipped
    )


def _why(config: VLMConfig, source: str, error: Exception) -> str:
    """Return the sentence for a checkpoint that does not load, with the advice for its cause."""
    first = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    local = weights_folder(config.weights) is not None
    where = f"the folder '{source}'" if local else f"'{config.weights}' on the hub"

    if remedy := machine_remedy(error):
        advice = remedy
    elif local:
        advice = (
            "A file of it is damaged, missing, or of another checkpoint: "
            "copy or download the whole folder again"
        )
    else:
        advice = (
            "If the hub is out of reach, fetch it ahead with "
            f"'hf download {config.weights} --local-dir weights/{config.name}' "
            f"and pass vlm.weights=weights/{config.name}"
        )
    return (
        f"Could not load the VLM '{config.name}' from {where} ({first}). "
        f"{advice}; HYDRA_FULL_ERROR=1 shows where it happened."
    )
