"""The environment that processes are started with."""

import os

from entropy_grounding.core.processes import announce_parent, environment


def test_variables_are_set_for_a_while():
    before = os.environ.get("ENTROPY_GROUNDING_PARENT")
    with environment(announce_parent()):
        assert os.environ["ENTROPY_GROUNDING_PARENT"] == str(os.getpid())
    assert os.environ.get("ENTROPY_GROUNDING_PARENT") == before
