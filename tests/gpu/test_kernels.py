"""Opt-in: attention kernels that exist on a GPU only.

``pytest -m gpu tests/gpu/test_kernels.py``; needs no checkpoint.
"""

import pytest
import torch
from transformers.utils import is_flash_attn_2_available

from entropy_grounding.method.target import next_token_entropy
from entropy_grounding.tiny.architectures import Size
from support.families import GEOMETRIES, Case

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
# flex_attention takes no head of fewer than 16 dimensions; these have 32.
WIDE = Size(width=128, vision_layers=2, text_layers=2, key_value_heads=2)
FLASH = pytest.param(
    "flash_attention_2",
    marks=pytest.mark.skipif(not is_flash_attn_2_available(), reason="flash-attn is not installed"),
)


@pytest.mark.parametrize("kernel", [FLASH, "flex_attention"])
@pytest.mark.parametrize("family", list(GEOMETRIES))
def test_gpu_kernels_give_the_map_of_sdpa(family, kernel):
    if kernel == "flex_attention" and family.startswith("qwen"):
        pytest.skip("transformers offers no flex_attention for this family")

    build, variants, sizes = GEOMETRIES[family]
    case = Case(family, build, variants[0], sizes[0])
    maps = []
    for attention in ("sdpa", kernel):
        vlm = case.vlm(sizes=WIDE)
        vlm.model.to("cuda", torch.bfloat16)
        vlm.model.get_decoder().set_attn_implementation(attention)
        prompt = vlm.prompt("what is it ?", [vlm.encode(case.image())])
        maps.append(vlm.gradient(prompt, next_token_entropy).gradients.double().norm(dim=-1))
    assert torch.cosine_similarity(*maps, dim=0) >= 0.999
