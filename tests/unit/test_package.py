"""The public names of the package."""

import subprocess
import sys


def test_the_public_names_are_functions_and_classes_whatever_was_imported():
    checked = (
        "import entropy_grounding.evaluation.run, entropy_grounding.grounding\n"
        "import entropy_grounding as eg\n"
        "assert callable(eg.evaluate) and callable(eg.ground)\n"
        "assert all(getattr(eg, name) is not None for name in eg.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
