"""What the tests of the rehearsal share."""

import sys
from pathlib import Path

import pytest

# The scripts beside the tests import each other by name.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fresh(child):
    """The child with an empty cache and a hub that works."""
    child.forget()
    child.hub.faults.clear()
    yield child
    child.hub.faults.clear()
