"""Load a VLM by name, hub id or local folder; the tiny ones and the 7B checkpoints take the same path."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    CLIPImageProcessorPil,
    LlavaImageProcessorPil,
    PreTrainedConfig,
    ProcessorMixin,
)
from transformers.utils import is_bitsandbytes_available
from transformers.utils import logging as transformers_logging

from entropy_grounding.errors import InputError, machine_remedy
from entropy_grounding.verbatim import Place, Text
from entropy_grounding.vlm.base import NEUTRAL_QUESTION, VLM, Family, map_bytes
from entropy_grounding.vlm.identity import TINY, file_digest, hub_commit, weight_files, weights_folder, weights_identities
from entropy_grounding.vlm.internvl import InternVLFamily
from entropy_grounding.vlm.llava import LlavaFamily
from entropy_grounding.vlm.llava_next import LlavaNextFamily
from entropy_grounding.vlm.processor import load_processor
from entropy_grounding.vlm.qwen2_5_vl import QwenFamily

FAMILIES: dict[str, Family] = {family.architecture: family for family in (LlavaFamily(), LlavaNextFamily(), InternVLFamily(), QwenFamily())}
_DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("none", "8bit", "4bit")
LARGE = 2.0  # gigabytes of weights from which a CPU is worth a warning
_POINTER = b"version https://git-lfs"  # what git leaves in place of a large file
_NEEDED = ("config.json", "tokenizer.json", ("processor_config.json", "preprocessor_config.json"))


@dataclass(frozen=True)
class Expected:
    """What the weights of a preset must be, while they bear its name.

    Attributes:
        name: of the preset.
        architecture: the class in transformers.
        width: hidden size of the language model.
        layers: of the language model.
        weights: where given, their content must be that of these (``tiny:FAMILY``).
    """

    name: str = ""
    architecture: str = ""
    width: int = 0
    layers: int = 0
    weights: Place = ""


@dataclass(frozen=True)
class VLMConfig:
    """Which weights, and how to load them.

    Attributes:
        name: for labels and results.
        weights: a hub id, a local folder, or ``tiny:FAMILY`` for the weights of this repository.
        revision: commit, tag or branch on the hub.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
        attention: kernel, "sdpa" by default; gradients need one with a backward pass.
        device: "auto" takes the first GPU if there is one.
        device_map: of accelerate, for example "auto" to spread the layers over several GPUs; then ``device`` is not used.
        quantization: "none", or "8bit" or "4bit" by bitsandbytes.
        grounding: which view carries the map: "default", one by name ("canvas", "base", "thumbnail"), or "all".
        max_pixels: pixel budget of a picture, for families with dynamic resolution; None keeps the checkpoint's.
        max_tiles: most tiles of a picture, for families that tile by count; None keeps the checkpoint's.
        image_fit: "as_released", or "pad" for the padding of the original LLaVA-1.5, whose hub port cuts the ends of the image off.
        attention_layer: the decoder layer, from 0, of attention maps with ``method.layers=chosen``.
        neutral_question: what relative maps divide by where ``method.neutral_question`` is "vlm".
        checkpointing: less memory for maps at a third more time: "on", "off" or "auto", see `VLM`.
        expects: what the weights must be to bear the name of the preset; not checked under another ``name``.
    """

    name: str = "tiny_llava"
    weights: Place = "tiny:llava"
    revision: str | None = None
    dtype: str = "auto"
    attention: str = "sdpa"
    device: str = "auto"
    device_map: str | None = None
    quantization: str = "none"
    grounding: str = "default"
    max_pixels: int | None = None
    max_tiles: int | None = None
    image_fit: str = "as_released"
    attention_layer: int | None = None
    neutral_question: Text = NEUTRAL_QUESTION
    checkpointing: str = "auto"
    expects: Expected = field(default_factory=Expected)


def load_vlm(config: VLMConfig | str = "tiny_llava") -> VLM:
    """Load a VLM, from a configuration or by its name in ``conf/vlm``; parameters are frozen.

    Code that comes with a checkpoint is never run, and weights are read from safetensors files only.

    Raises:
        InputError: for an unknown name or option, an unsupported architecture, an unreachable hub, weights that do not
            belong to the preset, and a checkpoint that is incomplete, damaged, or does not fit together.
    """
    if isinstance(config, str):
        from entropy_grounding.configs import compose_config

        config = compose_config([f"vlm={config}"]).vlm
    _check_options(config)
    source, revision = _source(config)

    with torch.inference_mode(False), _loading(config, source), _quiet_progress():
        return _loaded(config, source, revision)


def _check_options(config: VLMConfig) -> None:
    """Refuse unknown values before anything is read."""
    choices = {"dtype": _DTYPES, "image_fit": ("as_released", "pad"), "quantization": QUANTIZATIONS}
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise InputError(f"Unknown {name} '{getattr(config, name)}': use {' or '.join(known) if len(known) == 2 else _one_of(known)}.")

    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"vlm.device is '{config.device}', but torch sees no GPU: use vlm.device=cpu or auto.")


def _one_of(known: Sequence[str]) -> str:
    return f"one of {', '.join(known)}"


def _loaded(config: VLMConfig, source: str, revision: str | None) -> VLM:
    """Load configuration, processor and weights, check that they fit together, and rehearse one picture."""
    device = _device(config)
    hub = {"revision": revision, "trust_remote_code": False}
    about = AutoConfig.from_pretrained(source, **hub)
    family = _family(about, config)
    _check_preset(about, config)

    processor = load_processor(source, about, revision)
    if device.type == "cpu":
        _warn_of_large_models(about, config)
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        source,
        **hub,
        dtype=config.dtype,
        attn_implementation=config.attention,
        device_map=config.device_map or (device if config.quantization != "none" else None),
        quantization_config=_quantization(config, device),
        use_safetensors=True,
        output_loading_info=True,
    )
    model, report = loaded
    _check_keys(report, config)

    _limit(processor.image_processor, config)
    if config.image_fit == "pad":
        processor.image_processor = padded(processor, config)
    if not getattr(model, "hf_device_map", None):
        model.to(device)
    vlm = VLM(
        model.eval().requires_grad_(False),
        processor,
        family,
        config.name,
        config.grounding,
        attention_layer=config.attention_layer,
        neutral_question=config.neutral_question,
        checkpointing=config.checkpointing,
    )

    _rehearse(vlm, config)
    return vlm


@contextmanager
def _loading(config: VLMConfig, source: str) -> Iterator[None]:
    """Turn whatever goes wrong while a checkpoint is loaded into one sentence; the original is its cause.

    Raises:
        InputError: naming the weights, the reason and the remedy.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of transformers, tokenizers, safetensors, jinja2, ...: no list of theirs is complete
        raise InputError(_why(config, source, error)) from error


@contextmanager
def _quiet_progress() -> Iterator[None]:
    """Hide the bars of weights that load, and leave the caller's setting as it was."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _check_keys(report: Mapping[str, Any], config: VLMConfig) -> None:
    """Refuse weights that do not fill the model: what is missing would be random.

    Raises:
        InputError: naming the first keys that are missing, and those that belong nowhere.
    """
    missing = sorted({*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])})
    if not missing:
        return

    unknown = sorted(report["unexpected_keys"])
    said = f"; it has {_first(unknown)}, which belong nowhere" if unknown else ""
    raise InputError(
        f"The weights '{config.weights}' do not fit the model '{config.name}': {_first(missing)} are missing or of another shape{said}. "
        "The model would be partly random: download the checkpoint again, or save it with save_pretrained."
    )


def _first(names: Sequence[str], count: int = 3) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(f"'{name}'" for name in names[:count]) + rest


def _check_preset(about: PreTrainedConfig, config: VLMConfig) -> None:
    """Refuse weights under the name of a preset that they are not: their rows would stand under that name.

    A checkpoint of a preset may lie anywhere, and may be fine-tuned: its rows are told apart by their config hash. Another architecture
    or size takes a name of its own, and so do other weights under the name of a tiny VLM of this repository.

    Raises:
        InputError: naming what differs.
    """
    expected = config.expects
    if config.name != expected.name:
        return

    text = about.get_text_config()
    found = {"architecture": (about.architectures or ["none"])[0], "width": text.hidden_size, "layers": text.num_hidden_layers}
    differing = [f"{name} {value}, not {getattr(expected, name)}" for name, value in found.items() if value != getattr(expected, name)]
    if expected.weights and not differing:
        ours, theirs = (weights_identities(each)["weights"][:12] for each in (config.weights, expected.weights))
        differing = [] if ours == theirs else [f"SHA-256 {ours}..., not {theirs}..."]

    if differing:
        raise InputError(
            f"The weights '{config.weights}' are not those of '{config.name}' ({'; '.join(differing)}): give them a name of their own "
            "with vlm.name=NAME, and look through the other options of the preset."
        )


def _rehearse(vlm: VLM, config: VLMConfig) -> None:
    """Encode and place a small grey picture, so that a processor that does not fit the model is found now and not at every example.

    Raises:
        InputError: where placeholders and visual tokens do not agree, or the placeholder is no word of the model.
    """
    vocabulary = vlm.model.get_input_embeddings().num_embeddings
    placeholder = vlm.model.config.image_token_id
    if not 0 <= placeholder < vocabulary:
        raise InputError(f"The image token {placeholder} of '{config.weights}' is none of its {vocabulary} tokens: check its config.json.")

    picture = vlm.look(Image.new("RGB", (96, 64), "gray"))
    placed = int((picture.tokens == placeholder).sum())
    if placed != len(picture.features):
        raise InputError(
            f"The processor of '{config.weights}' makes {placed} placeholders of a picture and the model {len(picture.features)} visual "
            "tokens: use the processor files that came with these weights."
        )


def _device(config: VLMConfig) -> torch.device:
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device)


def _quantization(config: VLMConfig, device: torch.device) -> BitsAndBytesConfig | None:
    """Return the settings of bitsandbytes: towers and output layer stay as they are.

    Its 4-bit kernels for CPUs with AVX512-BF16 repack the weights and pass no gradient through the layer: a map would be silently wrong.
    """
    if config.quantization == "none":
        return None
    if not is_bitsandbytes_available():
        raise InputError("vlm.quantization needs bitsandbytes: pip install -c constraints.txt 'entropy-grounding[quantization]'.")
    if config.quantization == "4bit" and device.type == "cpu":
        raise InputError("vlm.quantization=4bit needs a GPU: on a CPU its kernels drop gradients. Use 8bit or none.")
    skipped = ["lm_head", "vision_tower", "visual", "multi_modal_projector"]
    if config.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16, llm_int8_skip_modules=skipped)


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated memory in gigabytes (1e9 bytes): of the weights, and of the activations that a map keeps for 1,000 visual tokens."""

    weights: float
    map_per_1000_tokens: float


def estimate_memory(config: PreTrainedConfig, dtype: torch.dtype) -> Memory:
    """Estimate what a model of this configuration needs, without its weights (built on the meta device)."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Memory(parameters * dtype.itemsize / 1e9, 1000 * map_bytes(config, dtype) / 1e9)


def _warn_of_large_models(loaded: PreTrainedConfig, config: VLMConfig) -> None:
    """Say what a model of billions of weights costs on a CPU, before it is loaded."""
    dtype: Any = getattr(torch, config.dtype) if config.dtype != "auto" else loaded.dtype or torch.float32
    need = estimate_memory(loaded, dtype)
    if need.weights > LARGE:
        free = psutil.virtual_memory().available / 1e9
        warnings.warn(
            f"'{config.name}' runs on the CPU: about {need.weights:.0f} GB of weights in {str(dtype).removeprefix('torch.')} and "
            f"{need.map_per_1000_tokens:.1f} GB per 1,000 visual tokens of a map, with {free:.0f} GB free; expect minutes for one map. "
            "A GPU (vlm.device=cuda) or vlm=tiny_llava is faster.",
            stacklevel=4,
        )


def _limit(image_processor: Any, config: VLMConfig) -> None:
    """Apply the pixel and tile budgets; a budget that the family does not know is an error, not ignored."""
    for name, budget in (("max_pixels", config.max_pixels), ("max_tiles", config.max_tiles)):
        if budget is not None and budget < 1:
            raise InputError(f"vlm.{name} is {budget}: a picture would have no visual token; use at least 1.")
    if config.max_pixels is not None:
        if "longest_edge" not in image_processor.size:
            raise InputError(f"vlm.max_pixels has no meaning for '{config.name}': its pictures have a fixed size.")
        smallest = min(image_processor.size["shortest_edge"], config.max_pixels)
        image_processor.size = {"shortest_edge": smallest, "longest_edge": config.max_pixels}
    if config.max_tiles is not None:
        if not hasattr(image_processor, "max_patches"):
            raise InputError(f"vlm.max_tiles has no meaning for '{config.name}': it does not tile by count.")
        image_processor.max_patches = config.max_tiles
        image_processor.min_patches = min(image_processor.min_patches, config.max_tiles)


def padded(processor: ProcessorMixin, config: VLMConfig | None = None) -> LlavaImageProcessorPil:
    """Return an image processor that pads to a square with the mean color, as the original LLaVA-1.5 does.

    Raises:
        InputError: for a family whose pictures are no centre crop of a fixed size.
    """
    released = processor.image_processor
    if isinstance(released, LlavaImageProcessorPil) and released.do_pad:
        return released  # as it is already

    if not isinstance(released, CLIPImageProcessorPil | LlavaImageProcessorPil):
        name = config.name if config else type(processor).__name__
        raise InputError(f"vlm.image_fit=pad has no meaning for '{name}': only LLaVA-1.5 cuts pictures to a square; use as_released.")

    side = released.crop_size["height"]
    return LlavaImageProcessorPil(
        do_pad=True,
        size={"height": side, "width": side},
        do_center_crop=False,
        image_mean=released.image_mean,
        image_std=released.image_std,
        resample=released.resample,
    )


def _source(config: VLMConfig) -> tuple[str, str | None]:
    """Return the checked local folder that a configuration names, or the hub id with its commit."""
    weights = config.weights
    folder = weights_folder(weights)
    if folder is not None:
        _check_folder(folder)
        if weights.startswith("tiny:"):
            check_released(folder)
        return str(folder), None

    if weights.startswith("tiny:"):
        have = ", ".join(f"tiny:{each.name}" for each in sorted(TINY.glob("*")) if each.is_dir())
        raise InputError(f"No tiny weights '{weights}': this repository has {have or 'none'}.")
    if weights.startswith((".", "/", "~")) or Path(weights).expanduser().exists():
        raise InputError(f"No weights folder at '{weights}': check the path (vlm.weights=...).")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", weights):
        raise InputError(f"'{weights}' is neither a folder nor a hub id (OWNER/NAME): check vlm.weights.")

    return weights, hub_commit(weights, config.revision, kind="model")


def check_released(folder: Path) -> None:
    """Refuse weights of this repository of which a byte differs from what was released.

    Raises:
        InputError: naming the file.
    """
    for line in (TINY / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        if name.startswith(f"{folder.name}/") and file_digest(TINY / name) != digest:
            raise InputError(
                f"The file '{TINY / name}' is not the one that was released (its SHA-256 differs): restore it with git, or install again."
            )


def _check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a file, or holds a stand-in for one."""
    for needed in _NEEDED:
        names = (needed,) if isinstance(needed, str) else needed
        if not any((folder / name).is_file() for name in names):
            raise InputError(f"The weights folder '{folder}' has no {' or '.join(names)}: save model and processor with save_pretrained.")

    for path in weight_files(folder):
        if not path.is_file():
            pickled = "; pickled weights (.bin, .pt) are not read" if any(folder.glob("*.bin")) else ""
            raise InputError(f"The weights folder '{folder}' has no {path.name}: copy it there, or download the checkpoint again{pickled}.")
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise InputError(f"The file '{path}' is a git-lfs pointer, not the weights: run 'git lfs pull' in its folder.")


def _family(about: PreTrainedConfig, config: VLMConfig) -> Family:
    architecture = (about.architectures or ["none"])[0]
    if architecture not in FAMILIES:
        raise InputError(f"The architecture {architecture} of '{config.weights}' is not supported: supported are {', '.join(FAMILIES)}.")
    return FAMILIES[architecture]


def _why(config: VLMConfig, source: str, error: Exception) -> str:
    """Return the sentence for a checkpoint that does not load, with the advice for its cause."""
    first = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    where = f"the folder '{source}'" if weights_folder(config.weights) else f"'{config.weights}' on the hub"

    if remedy := machine_remedy(error):
        advice = remedy
    elif weights_folder(config.weights):
        advice = "A file of it is damaged, missing, or of another checkpoint: copy or download the whole folder again"
    else:
        advice = (
            f"If the hub is out of reach, fetch it ahead with 'hf download {config.weights} --local-dir weights/{config.name}' "
            f"and pass vlm.weights=weights/{config.name}"
        )
    return f"Could not load the VLM '{config.name}' from {where} ({first}). {advice}; HYDRA_FULL_ERROR=1 shows where it happened."
