"""Copy weights from one tiny VLM to another."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    InternVLForConditionalGeneration,
    PreTrainedModel,
    Qwen3VLForConditionalGeneration,
)

# From CLIP's name of a weight to InternVL's name of the same weight.
_INTERNVL_NAMES = {
    "encoder.layers.": "encoder.layer.",
    "self_attn.out_proj": "attention.projection_layer",
    "self_attn.": "attention.",
    "layer_norm1": "layernorm_before",
    "layer_norm2": "layernorm_after",
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.patch_embedding.": "embeddings.patch_embeddings.projection.",
    "embeddings.position_embedding.weight": "embeddings.position_embeddings",
}
# From Qwen2.5-VL's name of a weight to Qwen3-VL's name of the same weight.
_QWEN3_NAMES = {
    "merger.ln_q": "merger.norm",
    "merger.mlp.0": "merger.linear_fc1",
    "merger.mlp.2": "merger.linear_fc2",
}


def shared_words(processor: Any, donor: Any) -> Tensor:
    """Return the token ids of the words that two processors share, ``(words, 2)``.

    A token id is also the row of a word embedding. The first column holds the ids of ``processor``,
    the second column those of ``donor``. Words are in alphabetical order.
    """
    own = processor.tokenizer.get_vocab()
    other = donor.tokenizer.get_vocab()
    return torch.tensor([(own[word], other[word]) for word in sorted(own) if word in other])


def inherit(
    model: PreTrainedModel, donor: PreTrainedModel, words: Tensor, *, language_only: bool = False
) -> list[str]:
    """Copy every weight that has the same meaning in the donor, and return the names of the copies.

    A bias of a projection that the donor lacks becomes zero. So does the last layer of DeepStack,
    whose features then add nothing.

    Args:
        model: the model whose weights are replaced.
        donor: a model of this or another family.
        words: pairs of token ids, from `shared_words`.
        language_only: leave the vision tower and the projector as they are.
    """
    copied = []
    own = model.state_dict()

    for name, weight in donor.state_dict().items():
        name = _own_name(model, name)
        if name not in own or (
            language_only and "language_model" not in name and "lm_head" not in name
        ):
            continue

        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            # Token ids of special tokens differ between families, so rows are copied by word.
            own[name][words[:, 0]] = weight[words[:, 1]]
        elif own[name].numel() == weight.numel():
            # Position embeddings are (positions, dim) in CLIP and (1, positions, dim) in InternVL.
            own[name].copy_(weight.reshape(own[name].shape))
        else:
            continue
        copied.append(name)

    # A donor without these computes what zeros compute.
    for name, weight in own.items():
        absent = name.endswith(("_proj.bias", "projection.bias")) or _ends_deepstack(name)
        if absent and name not in copied:
            torch.nn.init.zeros_(weight)

    return copied


def _own_name(model: PreTrainedModel, name: str) -> str:
    """Return the model's name of a weight, for the name that the donor has for it."""
    names: dict[str, str] = {}
    if isinstance(model, InternVLForConditionalGeneration) and "vision_tower" in name:
        names = _INTERNVL_NAMES
    elif isinstance(model, Qwen3VLForConditionalGeneration) and "visual" in name:
        names = _QWEN3_NAMES

    for donors, own in names.items():
        name = name.replace(donors, own)
    return name


def _ends_deepstack(name: str) -> bool:
    return "deepstack_merger_list" in name and ".linear_fc2." in name
