"""Vision-language models: one class, one small adapter per family."""

from entropy_grounding.vlm.base import VLM, Picture, Prompt, TokenGradients
from entropy_grounding.vlm.load import FAMILIES, VLMConfig, load_vlm

__all__ = ["FAMILIES", "VLM", "Picture", "Prompt", "TokenGradients", "VLMConfig", "load_vlm"]
