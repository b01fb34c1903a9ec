"""nbval fails for a notebook that raises, and for one whose kept output changed."""

import subprocess
import sys

import nbformat
import pytest

CELLS = {
    "sound": ("# NBVAL_CHECK_OUTPUT\nprint(1)", "1\n", 0),
    "raises": ("1 / 0", None, 1),
    "another_output": ("# NBVAL_CHECK_OUTPUT\nprint(1)", "2\n", 1),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_broken_notebook_fails(kind, tmp_path):
    source, output, code = CELLS[kind]
    cell = nbformat.v4.new_code_cell(source, execution_count=1)
    if output:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=output)]
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    nbformat.write(notebook, tmp_path / "one.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "one.ipynb",
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == code
