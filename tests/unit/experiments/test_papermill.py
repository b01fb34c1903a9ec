"""Executed notebooks end together with what started them, and store what they have."""

import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

from entropy_grounding.__main__ import main
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.processes import PATIENCE
from entropy_grounding.experiments.papermill import check_presets, execute, parameters_of

# A kernel that takes its time, and stores what it has when it is interrupted.
WORK = """
import time
from pathlib import Path
folder = Path(folder)
(folder / "begun").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    (folder / "stored").touch()
    raise
"""
EXECUTE = """
import sys
from pathlib import Path
from entropy_grounding.commands.command_line import command
from entropy_grounding.core.errors import InputError
from entropy_grounding.experiments.papermill import execute
from entropy_grounding.core.processes import {setup}
folder = Path(sys.argv[1])
{begin}
command(lambda: execute(folder / "work.ipynb", folder / "done.ipynb", {{"folder": str(folder)}}))
"""
# Starts the process above, as `rerun` starts a cell.
START = """
import os, subprocess, sys
from entropy_grounding.core.processes import announce_parent
command = [sys.executable, sys.argv[2], sys.argv[1]]
environment = os.environ | announce_parent()
child = subprocess.Popen(command, env=environment, start_new_session=True)
child.wait()
"""


@pytest.fixture
def work(tmp_path):
    """A folder with the notebook of `WORK`."""
    parameters = nbformat.v4.new_code_cell(
        "folder = ''\nseed = 6\nshown = True", metadata={"tags": ["parameters"]}
    )
    made = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(WORK)])
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(made, tmp_path / "work.ipynb")
    return tmp_path


def begun(folder, process):
    while not (folder / "begun").exists():
        assert process.poll() is None, "ended before it was told to"
        time.sleep(0.05)
    return psutil.Process(process.pid).children(recursive=True)


def left(processes):
    """Return the processes that are there after the time that they have to end."""
    return psutil.wait_procs(processes, timeout=PATIENCE)[1]


def script(folder, text, *, watched):
    begin = (
        "import signal; signal.signal(signal.SIGTERM, end_together); end_with_parent()"
        if watched
        else ""
    )
    path = folder / "script.py"
    path.write_text(text.format(setup="end_together, end_with_parent", begin=begin))
    return path


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_notebook_that_is_told_to_end_stores_what_it_has(work, number, status):
    process = subprocess.Popen(
        [sys.executable, script(work, EXECUTE, watched=False), work],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may ignore it
    )
    children = begun(work, process)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == status
    assert said.strip().endswith("run the same command again to go on.")
    assert "Traceback" not in said
    assert (work / "stored").exists()
    assert not (work / "done.ipynb").exists()
    assert not left(children)


def test_a_notebook_ends_with_the_process_that_started_its_own(work):
    """The outermost is killed, as `rerun` may be.

    What it started in a session of its own stores and ends.
    """
    (work / "start.py").write_text(START)
    inner = script(work, EXECUTE, watched=True)
    process = subprocess.Popen([sys.executable, work / "start.py", work, inner])
    children = begun(work, process)
    assert len(children) > 1
    process.kill()
    process.wait()
    assert not left(children)
    assert (work / "stored").exists()


def test_a_notebook_is_executed_by_a_command(work, monkeypatch, capsys):
    short = nbformat.read(work / "work.ipynb", 4)
    del short.cells[1:]
    nbformat.write(short, work / "short [v1].ipynb")
    monkeypatch.setattr(
        "sys.argv",
        [
            "eg",
            "notebooks",
            "execute",
            f"{work}/short [v1].ipynb",
            f"{work}/done (1).ipynb",
            "folder=it's",
            "seed=7",
        ],
    )
    main()
    assert "executed" in capsys.readouterr().out
    assert nbformat.read(work / "done (1).ipynb", 4).metadata.papermill.parameters == {
        "folder": "it's",
        "seed": 7,
    }


def test_parameters_have_the_kind_of_the_notebooks_defaults(work):
    notebook = work / "work.ipynb"
    assert parameters_of(notebook, ["folder=007", "seed=3", "shown=False"]) == {
        "folder": "007",
        "seed": 3,
        "shown": False,
    }
    with pytest.raises(InputError, match="The parameter seed is 'three': use a value such as 6"):
        parameters_of(notebook, ["seed=three"])
    with pytest.raises(InputError, match="'seed' is no parameter: use NAME=VALUE"):
        parameters_of(notebook, ["seed"])


@pytest.mark.parametrize(
    ("name", "parameter", "message"),
    [
        ("00_quickstart", "imgae=photo.jpg", "has no parameter 'imgae': did you mean 'image'"),
        ("00_quickstart", "vlm=tiny_llava", "has no parameter 'vlm': use one of image, question"),
        ("00_quickstart", "seed=six", "The parameter seed is 'six'"),
        (
            "00_quickstart",
            "overrides=method.regions.sgima=2",
            "did you mean 'method.regions.sigma'",
        ),
        ("00_quickstart", "overrides=seed=1,vlm=tiny_lava", "did you mean 'tiny_llava'"),
        ("10_table1_main", "vlm=tiny_llava,tiny_intervl", "did you mean 'tiny_internvl'"),
        ("10_table1_main", "benchmark=mini_gqaa", "did you mean 'mini_gqa'"),
        ("10_table1_main", "run=smok", "did you mean 'smoke'"),
        ("10_table1_main", "overrides=benchmark.exmples=3", "did you mean 'benchmark.examples'"),
        ("21_ablation_stopping", "method=fixed_22", "did you mean 'fixed_2"),
        ("50_cell", "experiment=tabel1", "did you mean 'table1'"),
    ],
)
def test_a_typo_in_a_parameter_gets_the_nearest_word_before_a_kernel_starts(
    name, parameter, message, tmp_path, monkeypatch, capsys
):
    target = tmp_path / "out" / "done.ipynb"
    monkeypatch.setattr("sys.argv", ["eg", "notebooks", "execute", name, str(target), parameter])
    with pytest.raises(SystemExit, match="2"):
        main()
    refused = capsys.readouterr().err
    assert message in refused
    assert len(refused.splitlines()) == 1
    assert not target.parent.exists()


def test_right_names_are_no_mistake():
    known = {"vlm": "tiny_llava, tiny_internvl", "method": "fixed_2,entropy_gradient", "run": ""}
    check_presets({**known, "benchmark": "mini_gqa", "tracking": "disabled", "seed": 6})


def test_a_notebook_that_is_damaged_is_one_sentence(tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(InputError, match=r"The notebook '.*broken.ipynb' cannot be read"):
        execute(tmp_path / "broken.ipynb", tmp_path / "done.ipynb", {})


def test_a_notebook_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(
        InputError, match=r"No notebook at '.*absent.ipynb': notebooks come with the repository"
    ):
        execute(tmp_path / "absent.ipynb", tmp_path / "done.ipynb", {})
