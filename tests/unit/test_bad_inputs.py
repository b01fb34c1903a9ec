"""Every bad input of the corpus ends with one clear sentence."""

import re

import pytest

from support.bad_inputs import CASES, message


@pytest.mark.parametrize("case", list(CASES))
def test_a_bad_input_is_named(case):
    said = message(case)
    assert re.search(CASES[case][1], said), said
    assert said.count("\n") == 0
