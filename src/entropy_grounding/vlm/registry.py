"""The families by architecture, and the big sibling of every tiny VLM."""

from entropy_grounding.core.errors import InputError
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.family import Family
from entropy_grounding.vlm.internvl import InternVLFamily
from entropy_grounding.vlm.llava import LlavaFamily
from entropy_grounding.vlm.llava_next import LlavaNextFamily
from entropy_grounding.vlm.llava_onevision import LlavaOnevisionFamily
from entropy_grounding.vlm.qwen2_5_vl import QwenFamily
from entropy_grounding.vlm.qwen3_vl import Qwen3VLFamily
from entropy_grounding.vlm.smolvlm import SmolVLMFamily

# By tiny VLM, the paper's checkpoint of the same family; in the order of the paper's tables.
BIG_SIBLINGS = {
    "tiny_llava": "llava_1_5_7b",
    "tiny_llava_next": "llava_1_6_mistral_7b",
    "tiny_internvl": "internvl3_5_8b",
    "tiny_qwen2_5_vl": "qwen2_5_vl_7b",
}

_ALL = (
    LlavaFamily(),
    LlavaNextFamily(),
    InternVLFamily(),
    QwenFamily(),
    Qwen3VLFamily(),
    LlavaOnevisionFamily(),
    SmolVLMFamily(),
)
FAMILIES: dict[str, Family] = {family.architecture: family for family in _ALL}


# InternVL's own repositories; transformers has the same weights under the name with "-HF".
_REMOTE = "InternVLChatModel"
# What the contract of `Family` cannot carry, and why (docs/add_a_vlm.md).
_REFUSED = {
    "Gemma3ForConditionalGeneration": "its prompts mark a picture with another token than they "
    "expand it to, and every pass needs the token types of the whole prompt",
}


def family_of(architecture: str, config: VLMConfig) -> Family:
    """Return the adapter for the architecture that a checkpoint names.

    Raises:
        InputError: for an architecture without an adapter.
    """
    if architecture == _REMOTE:
        raise InputError(
            f"'{config.weights}' runs code of its own, which is never run here: use the checkpoint "
            f"for transformers, '{config.weights.removesuffix('/')}-HF'."
        )
    if architecture not in FAMILIES:
        why = f" ({_REFUSED[architecture]})" if architecture in _REFUSED else ""
        raise InputError(
            f"The architecture {architecture} of '{config.weights}' is not supported{why}: "
            f"supported are {', '.join(FAMILIES)}."
        )
    return FAMILIES[architecture]
