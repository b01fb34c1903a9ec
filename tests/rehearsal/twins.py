"""Twins of the released checkpoints: everything as released, except the size and the weights.

A twin is a folder with the released file names: configuration, generation configuration, processor
and tokenizer files, chat template, and several safetensors files with an index, whose tensors have
the names of the hub. Kept are token ids, vocabulary, image sizes, tile grids, pinpoints, context
length, head size, end tokens and kinds of layers. Changed are

- the depth: `LAYERS` layers of language model, `VISION_LAYERS` of vision tower;
- the widths: `WIDTH` for the language model and `VISION_WIDTH` for the vision tower, so that a twin
  with 152,000 tokens in its vocabulary takes under 150 MB and a pass on a CPU less than a second;
- the weights, which are random and the same for the same seed.

The small files come from a folder with the released ones (``files=DIR``), or are written from facts
alone (ids, sizes, names). The tokenizer is then a small one, with one token for each byte and the
released special tokens at their ids.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.utils import logging

LAYERS = 3  # the ablation of decoder layers reads the third
VISION_LAYERS = 2
WIDTH, VISION_WIDTH = 128, 64
HEAD = 128  # of Qwen2.5-VL and InternVL-3.5, whose rotary sections add up to it
INDEX = "model.safetensors.index.json"
SHARDS = 3


@dataclass(frozen=True)
class Twin:
    """What is known of a released checkpoint.

    Attributes:
        preset: its name in ``conf/vlm``.
        hub_id: the released repository.
        folder: the folder of its small files below ``files=DIR``.
        config: ``config.json``, as far as it matters here.
        generation: ``generation_config.json``.
        preprocessor: ``preprocessor_config.json``.
        processor: ``processor_config.json``, or empty where the release has none.
        template: the chat template.
        template_file: the name of its file in the release.
        tokens: the special tokens by id.
        named: the tokens that ``tokenizer_config.json`` names.
    """

    preset: str
    hub_id: str
    folder: str
    config: dict[str, Any]
    generation: dict[str, Any]
    preprocessor: dict[str, Any]
    processor: dict[str, Any]
    template: str
    template_file: str
    tokens: dict[int, str]
    named: dict[str, str]


def write_twin(twin: Twin, target: Path, files: Path | None = None, seed: int = 0) -> Path:
    """Write a twin into a folder, and return the folder. A complete twin is left as it is.

    Args:
        twin: one of `TWINS`.
        target: the folder; made if it does not exist.
        files: folder with the released small files in the subfolders of `Twin.folder`; where there
            are none, they are written from facts alone.
        seed: of the random weights.
    """
    if (target / INDEX).is_file():
        return target

    target.mkdir(parents=True, exist_ok=True)
    if files is not None and (files / twin.folder).is_dir():
        _copy_small_files(files / twin.folder, target)
    else:
        write_small_files(twin, target)

    config = shrunk(json.loads((target / "config.json").read_text()))
    _write(target / "config.json", config)
    _write_weights(target, seed)
    return target


def shrunk(config: dict[str, Any]) -> dict[str, Any]:
    """Return a released configuration with few layers and small widths."""
    config = json.loads(json.dumps(config))  # a copy
    text, vision = config.get("text_config", config), config["vision_config"]

    text |= {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        # The size of a head stays where rotary sections depend on it.
        "num_attention_heads": 1 if config["model_type"] == "qwen2_5_vl" else 2,
        "num_key_value_heads": 1,
    }
    if config["model_type"].startswith("llava"):
        text["head_dim"] = WIDTH // 2
    if "layer_types" in text:
        text["layer_types"] = text["layer_types"][:LAYERS]
    if "max_window_layers" in text:
        text["max_window_layers"] = LAYERS

    vision["hidden_size"] = VISION_WIDTH
    vision["intermediate_size"] = 2 * VISION_WIDTH
    if "depth" in vision:  # Qwen2.5-VL and Qwen3-VL
        vision |= {"depth": VISION_LAYERS, "num_heads": 2, "out_hidden_size": WIDTH}
        if "deepstack_visual_indexes" in vision:
            vision["deepstack_visual_indexes"] = list(range(VISION_LAYERS))
        else:
            vision["fullatt_block_indexes"] = [VISION_LAYERS - 1]
    else:
        vision |= {"num_hidden_layers": VISION_LAYERS, "num_attention_heads": 2}
    return config


# --- Weights ---


def _write_weights(folder: Path, seed: int) -> None:
    """Write random weights in the precision and under the names of the release."""
    torch.manual_seed(seed)
    logging.disable_progress_bar()
    about = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForImageTextToText.from_config(about)
    model.to(torch.bfloat16)

    # `save_pretrained` maps the names of transformers back to those of the hub.
    saved = folder / "saved"
    model.save_pretrained(saved, max_shard_size="10GB")
    tensors = load_file(saved / "model.safetensors")
    shutil.rmtree(saved)

    if about.model_type.startswith("llava"):
        tensors = {_released_name(name): tensor for name, tensor in tensors.items()}

    names = sorted(tensors)
    files = [f"model-{number + 1:05}-of-{SHARDS:05}.safetensors" for number in range(SHARDS)]
    weight_map = {name: files[place * SHARDS // len(names)] for place, name in enumerate(names)}
    for file in files:
        part = {name: tensors[name] for name in names if weight_map[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})

    size = sum(tensor.nbytes for tensor in tensors.values())
    _write(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": weight_map})


def _released_name(name: str) -> str:
    """Return the name in the older releases, where CLIP's tower has one level more."""
    return name.replace("vision_tower.", "vision_tower.vision_model.", 1)


# --- Small files ---


def _copy_small_files(source: Path, target: Path) -> None:
    """Copy the released files, except the index of weights that a twin does not have."""
    for path in source.iterdir():
        if path.is_file() and path.name not in (INDEX, "SOURCE"):
            # Contents only: files that were given may be read-only.
            shutil.copyfile(path, target / path.name)


def write_small_files(twin: Twin, target: Path) -> None:
    """Write the small files from facts alone."""
    target.mkdir(parents=True, exist_ok=True)
    _write(target / "config.json", twin.config)
    _write(target / "generation_config.json", twin.generation)
    _write(target / "preprocessor_config.json", twin.preprocessor)
    if twin.processor:
        _write(target / "processor_config.json", twin.processor)

    if twin.template_file.endswith(".json"):
        _write(target / twin.template_file, {"chat_template": twin.template})
    else:
        (target / twin.template_file).write_text(twin.template)

    tokenizer = _llama_bytes(twin) if 1 in twin.tokens else _gpt_bytes(twin)
    tokenizer.save(str(target / "tokenizer.json"))
    _write(target / "tokenizer_config.json", _tokenizer_config(twin))


def _tokenizer_config(twin: Twin) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {}
    for number, text in sorted(twin.tokens.items()):
        added[str(number)] = {"content": text, "special": True, **flags}

    llama = 1 in twin.tokens
    extra = {"add_bos_token": True, "add_eos_token": False, "legacy": False} if llama else {}
    return {
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
        "padding_side": "left",
        "tokenizer_class": "LlamaTokenizer" if llama else "Qwen2Tokenizer",
        **extra,
        **twin.named,
    }


def _llama_bytes(twin: Twin) -> Tokenizer:
    """Return a tokenizer of single bytes in the manner of SentencePiece, ids as in Llama 2.

    Bytes are 3 to 258, the space mark is 29871: a line break after an image gives 29871, 13.
    """
    byte_tokens = {f"<0x{value:02X}>": 3 + value for value in range(256)}
    special = {text: number for number, text in twin.tokens.items()}
    vocabulary = {**byte_tokens, **special, "\u2581": 29871}

    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return _with_special(tokenizer, twin)


def _gpt_bytes(twin: Twin) -> Tokenizer:
    """Return a tokenizer of single bytes in the manner of GPT-2, ids 0 to 255 as in Qwen2.5."""
    # The order of GPT-2: printable characters first, then the other bytes.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [value for value in range(256) if value not in printable]
    characters = [chr(value) for value in printable] + [chr(256 + n) for n in range(len(hidden))]

    vocabulary = {character: number for number, character in enumerate(characters)}
    vocabulary |= {text: number for number, text in twin.tokens.items()}

    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    split = pre_tokenizers.Split(Regex(r"\s?\S+|\s+"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return _with_special(tokenizer, twin)


def _with_special(tokenizer: Tokenizer, twin: Twin) -> Tokenizer:
    special = [twin.tokens[number] for number in sorted(twin.tokens)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    return tokenizer


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


# --- Facts ---

# Pixels are scaled to these means and deviations by CLIP (also in Qwen2.5-VL) and by InternVL.
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_STEPS = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "resample": 3,  # bicubic
    "rescale_factor": 1 / 255,
}
_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]

_CLIP_TOWER = {
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "model_type": "clip_vision_model",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
    "vocab_size": 32000,
}
_LLAVA = {
    "ignore_index": -100,
    "image_token_index": 32000,
    "projector_hidden_act": "gelu",
    "vision_config": _CLIP_TOWER,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}
_CLIP_IMAGES = {
    **_STEPS,
    **_CLIP,
    "crop_size": {"height": 336, "width": 336},
    "do_center_crop": True,
    "size": {"shortest_edge": 336},
}
_LLAVA_PROCESSOR = {
    "image_token": "<image>",
    "num_additional_image_tokens": 1,
    "patch_size": 14,
    "vision_feature_select_strategy": "default",
}
_LLAMA_TOKENS = {0: "<unk>", 1: "<s>", 2: "</s>", 32000: "<image>", 32001: "<pad>"}
_LLAMA_NAMED = {
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "image_token": "<image>",
}

# All pictures of a turn come first, each with a line break.
_IMAGES = "{% for c in m['content'] if c['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
_TEXTS = "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] + 'GAP' }}{% endfor %}"
_VICUNA = (
    "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['role'].upper() + ': ' }}"
    "{% endif %}" + _IMAGES + _TEXTS.replace("GAP", " ") + "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    + _IMAGES
    + _TEXTS.replace("GAP", "")
    + "{{ ' [/INST]' }}{% else %}{{ ' ' + m['content'][0]['text'] + '</s> ' }}{% endif %}"
    "{% endfor %}"
)
_CHATML = (
    "{% for m in messages %}START{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}{{ 'IMAGE' }}"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SYSTEM = (
    "{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
)
_QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"

_QWEN_TOKENS = dict(
    enumerate(
        [
            *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
            *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
            *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
            *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"),
            *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
            *("<|repo_name|>", "<|file_sep|>"),
        ],
        start=151643,
    )
)
_INTERNVL_TOKENS = dict(
    enumerate(
        [
            *("<tool_response>", "</tool_response>", "<think>", "</think>"),
            *("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>"),
            *("<box>", "</box>", "<video>"),
        ],
        start=151665,
    )
)


def _qwen(preset: str, hub_id: str, folder: str, width: int, depth: int, **text: Any) -> Twin:
    """Return the facts of a Qwen2.5-VL of one size."""
    return Twin(
        preset,
        hub_id,
        folder,
        config={
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "attention_dropout": 0.0,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "vision_start_token_id": 151652,
            "vision_end_token_id": 151653,
            "vision_token_id": 151654,
            "image_token_id": 151655,
            "video_token_id": 151656,
            "hidden_act": "silu",
            "hidden_size": width,
            "max_position_embeddings": 128000,
            "max_window_layers": depth,
            "model_type": "qwen2_5_vl",
            "num_hidden_layers": depth,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 32768,
            "torch_dtype": "bfloat16",
            "use_sliding_window": False,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vision_config": {
                "depth": 32,
                "hidden_act": "silu",
                "hidden_size": 1280,
                "intermediate_size": 3420,
                "num_heads": 16,
                "in_chans": 3,
                "out_hidden_size": width,
                "patch_size": 14,
                "spatial_merge_size": 2,
                "spatial_patch_size": 14,
                "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31],
                "tokens_per_second": 2,
                "temporal_patch_size": 2,
            },
            **text,
        },
        generation={
            "bos_token_id": 151643,
            "pad_token_id": 151643,
            "do_sample": True,
            "eos_token_id": [151645, 151643],
            "repetition_penalty": 1.05,
            "temperature": 0.000001,
        },
        preprocessor={
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            **_CLIP,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
        processor={},
        template=_CHATML.replace("START", _SYSTEM).replace("IMAGE", _QWEN_IMAGE),
        template_file="chat_template.json",
        tokens=_QWEN_TOKENS,
        named={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    )


LLAVA = Twin(
    "llava_1_5_7b",
    "llava-hf/llava-1.5-7b-hf",
    "llava",
    config={
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "pad_token_id": 32001,
        **_LLAVA,
        "text_config": {
            "architectures": ["LlamaForCausalLM"],
            "max_position_embeddings": 4096,
            "model_type": "llama",
            "rms_norm_eps": 1e-05,
            "torch_dtype": "float16",
            "vocab_size": 32064,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
    },
    generation={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 32001},
    preprocessor={**_CLIP_IMAGES, "image_processor_type": "CLIPImageProcessor"},
    processor={**_LLAVA_PROCESSOR, "processor_class": "LlavaProcessor"},
    template=_VICUNA,
    template_file="chat_template.jinja",
    tokens=_LLAMA_TOKENS,
    named=_LLAMA_NAMED,
)
LLAVA_NEXT = Twin(
    "llava_1_6_mistral_7b",
    "llava-hf/llava-v1.6-mistral-7b-hf",
    "llava_next",
    config={
        "architectures": ["LlavaNextForConditionalGeneration"],
        "model_type": "llava_next",
        **_LLAVA,
        "image_grid_pinpoints": _PINPOINTS,
        "use_image_newline_parameter": True,
        "text_config": {
            "architectures": ["MistralForCausalLM"],
            "max_position_embeddings": 32768,
            "model_type": "mistral",
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "torch_dtype": "bfloat16",
            "vocab_size": 32064,
        },
        "torch_dtype": "float16",
    },
    generation={"bos_token_id": 1, "eos_token_id": 2},
    preprocessor={
        **_CLIP_IMAGES,
        "aspect_ratio_setting": "anyres",
        "do_pad": True,
        "image_grid_pinpoints": _PINPOINTS,
        "image_processor_type": "LlavaNextImageProcessor",
    },
    processor={**_LLAVA_PROCESSOR, "processor_class": "LlavaNextProcessor"},
    template=_MISTRAL,
    template_file="chat_template.json",
    tokens=_LLAMA_TOKENS,
    named=_LLAMA_NAMED,
)
INTERNVL = Twin(
    "internvl3_5_8b",
    "OpenGVLab/InternVL3_5-8B-HF",
    "internvl",
    config={
        "architectures": ["InternVLForConditionalGeneration"],
        "downsample_ratio": 0.5,
        "image_seq_length": 256,
        "image_token_id": 151671,
        "model_type": "internvl",
        "projector_hidden_act": "gelu",
        "text_config": {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "bos_token_id": 151643,
            "eos_token_id": 151645,
            "head_dim": HEAD,
            "hidden_act": "silu",
            "layer_types": ["full_attention"] * 36,
            "max_position_embeddings": 40960,
            "model_type": "qwen3",
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000,
            "torch_dtype": "bfloat16",
            "vocab_size": 151936,
        },
        "torch_dtype": "bfloat16",
        "vision_config": {
            "architectures": ["InternVisionModel"],
            "attention_bias": True,
            "hidden_act": "gelu",
            "image_size": [448, 448],
            "layer_norm_eps": 1e-06,
            "layer_scale_init_value": 0.1,
            "model_type": "internvl_vision",
            "norm_type": "layer_norm",
            "num_channels": 3,
            "patch_size": [14, 14],
            "use_absolute_position_embeddings": True,
            "use_mean_pooling": True,
            "use_qk_norm": False,
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
    },
    generation={"bos_token_id": 151643, "eos_token_id": 151645},
    preprocessor={
        **_STEPS,
        **_IMAGENET,
        "crop_to_patches": False,
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "max_patches": 12,
        "min_patches": 1,
        "processor_class": "InternVLProcessor",
        "size": {"height": 448, "width": 448},
    },
    processor={"image_seq_length": 256, "processor_class": "InternVLProcessor"},
    template=_CHATML.replace("START", "").replace("IMAGE", "<IMG_CONTEXT>\\n"),
    template_file="chat_template.jinja",
    tokens=_QWEN_TOKENS | _INTERNVL_TOKENS,
    named={
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "context_image_token": "<IMG_CONTEXT>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "video_token": "<video>",
    },
)
QWEN = _qwen(
    "qwen2_5_vl_7b",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen",
    3584,
    28,
    vocab_size=152064,
    tie_word_embeddings=False,
)
QWEN_3B = _qwen(
    "qwen2_5_vl_3b",
    "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen_3b",
    2048,
    36,
    vocab_size=151936,
    tie_word_embeddings=True,
)
QWEN3 = Twin(
    "qwen3_vl_8b",
    "Qwen/Qwen3-VL-8B-Instruct",
    "qwen3",
    config={
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": 151655,
        "model_type": "qwen3_vl",
        "text_config": {
            "attention_bias": False,
            "bos_token_id": 151643,
            "dtype": "bfloat16",
            "eos_token_id": 151645,
            "head_dim": HEAD,
            "hidden_act": "silu",
            "max_position_embeddings": 262144,
            "model_type": "qwen3_vl_text",
            "rms_norm_eps": 1e-06,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": [24, 20, 20],
                "rope_type": "default",
            },
            "rope_theta": 5000000,
            "vocab_size": 151936,
        },
        "tie_word_embeddings": False,
        "video_token_id": 151656,
        "vision_config": {
            "deepstack_visual_indexes": [8, 16, 24],
            "depth": 27,
            "hidden_act": "gelu_pytorch_tanh",
            "in_channels": 3,
            "model_type": "qwen3_vl",
            "num_position_embeddings": 2304,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        "vision_end_token_id": 151653,
        "vision_start_token_id": 151652,
    },
    generation={
        "bos_token_id": 151643,
        "pad_token_id": 151643,
        "do_sample": True,
        "eos_token_id": [151645, 151643],
        "top_k": 20,
        "top_p": 0.8,
        "temperature": 0.7,
    },
    preprocessor={
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    },
    processor={},
    template=_CHATML.replace("START", "").replace("IMAGE", _QWEN_IMAGE),
    template_file="chat_template.json",
    tokens=_QWEN_TOKENS,
    named={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
)
TWINS: dict[str, Twin] = {
    twin.preset: twin for twin in (LLAVA, LLAVA_NEXT, INTERNVL, QWEN, QWEN_3B, QWEN3)
}
