"""nbval fails for a notebook that raises, and for one whose kept output changed."""

import subprocess
import sys

import nbformat
import pytest

CELLS = {
    "sound": ("# NBVAL_CHECK_OUTPUT\nprint(1)", "1\n", "PASSED"),
    "raises": ("1 / 0", None, "FAILED"),
    "another_output": ("# NBVAL_CHECK_OUTPUT\nprint(1)", "2\n", "FAILED"),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All of them, in one process of pytest."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, (source, output, _) in CELLS.items():
        cell = nbformat.v4.new_code_cell(source, execution_count=1)
        if output:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=output)]
        notebook = nbformat.v4.new_notebook(
            cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        )
        nbformat.write(notebook, folder / f"{name}.ipynb")

    command = [sys.executable, "-m", "pytest", "-q", "-rfp", "-p", "no:cacheprovider"]
    notebooks = [f"{name}.ipynb" for name in CELLS]
    return subprocess.run(
        [*command, "--nbval-lax", *notebooks], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", CELLS)
def test_a_broken_notebook_fails(name, done):
    *_, outcome = CELLS[name]
    told = [line for line in done.stdout.splitlines() if f"{name}.ipynb::Cell" in line]
    assert [line.split()[0] for line in told if line.startswith(("PASSED", "FAILED"))] == [outcome]


def test_pytest_fails_with_them(done):
    assert done.returncode == 1
