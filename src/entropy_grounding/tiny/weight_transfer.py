"""Hand weights on from one tiny VLM to another."""

from typing import Any

import torch
from torch import Tensor
from transformers import InternVLForConditionalGeneration, PreTrainedModel

# CLIP's names and InternVL's for the same weights
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


def shared_words(processor: Any, donor: Any) -> Tensor:
    """Return the rows of the word embeddings that stand for the same words, ``(words, 2)``: of a processor's model, of a donor's."""
    own, other = processor.tokenizer.get_vocab(), donor.tokenizer.get_vocab()
    return torch.tensor([(own[word], other[word]) for word in sorted(own) if word in other])


def inherit(
    model: PreTrainedModel, donor: PreTrainedModel, words: Tensor, *, language_only: bool = False
) -> list[str]:
    """Copy every weight that the donor has under the same meaning; return the names of those copied.

    Args:
        model: what is filled.
        donor: a model of this or another family.
        words: from `shared_words`.
        language_only: leave vision tower and projector as they are.
    """
    copied = []
    own = model.state_dict()
    for name, weight in donor.state_dict().items():
        if isinstance(model, InternVLForConditionalGeneration) and "vision_tower" in name:
            for clip, internvl in _INTERNVL_NAMES.items():
                name = name.replace(clip, internvl)
        if name not in own or (
            language_only and "language_model" not in name and "lm_head" not in name
        ):
            continue
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            own[name][words[:, 0]] = weight[words[:, 1]]
        elif own[name].numel() == weight.numel():
            own[name].copy_(weight.reshape(own[name].shape))
        else:
            continue
        copied.append(name)
    for name, weight in own.items():
        if name.endswith(("_proj.bias", "projection.bias")) and name not in copied:
            torch.nn.init.zeros_(weight)
    return copied
