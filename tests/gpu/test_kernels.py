"""Opt-in: attention kernels that exist on a GPU only.

``pytest -m gpu tests/gpu/test_kernels.py``; needs no checkpoint.
"""

import pytest
import torch
from transformers.utils import is_flash_attn_2_available

from entropy_grounding.method.target import next_token_entropy
from support.families import GEOMETRIES, Case

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
FLASH = pytest.param(
    "flash_attention_2",
    marks=pytest.mark.skipif(not is_flash_attn_2_available(), reason="flash-attn is not installed"),
)


@pytest.mark.parametrize("kernel", [FLASH, "flex_attention"])
@pytest.mark.parametrize("family", list(GEOMETRIES))
def test_gpu_kernels_give_the_map_of_sdpa(family, kernel):
    build, variants, sizes = GEOMETRIES[family]
    case = Case(family, build, variants[0], sizes[0])
    maps = []
    for attention in ("sdpa", kernel):
        vlm = case.vlm()
        vlm.model.to("cuda", torch.bfloat16)
        vlm.model.get_decoder().set_attn_implementation(attention)
        prompt = vlm.prompt("what is it ?", [vlm.encode(case.image())])
        maps.append(vlm.gradient(prompt, next_token_entropy).gradients.double().norm(dim=-1))
    assert torch.cosine_similarity(*maps, dim=0) >= 0.999
