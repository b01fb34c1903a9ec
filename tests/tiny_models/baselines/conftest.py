"""One small VLM of each of the four families."""

import pytest

from support.families import CASES

ONE_EACH = ["llava-0-200x120", "llava_next-0-60x150", "internvl-0-200x120", "qwen2_5_vl-0-60x150"]


@pytest.fixture(scope="module", params=ONE_EACH)
def case(request):
    (found,) = [case for case in CASES if case.name == request.param]
    return found


@pytest.fixture(scope="module")
def vlm(case):
    return case.vlm()
