"""Every command line begins and ends alike: help everywhere, one sentence and status 2 for what a user can fix."""

import os
import runpy
import signal
import subprocess
import sys

import pytest
from hydra._internal.utils import get_args_parser

from entropy_grounding.commands.command_line import FLAGS, check_arguments, command
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR

MODULES = [
    *(
        "ground",
        "evaluate",
        "merge",
        "calibrate",
        "rerun",
        "cell",
        "notebooks",
        "report",
        "executed",
    ),
    *("tiny.train", "tiny.check", "benchmark_cost", "baselines.layers"),
]


def run(module, *arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", f"entropy_grounding.{module}", *arguments],
        capture_output=True,
        cwd=cwd,
        env=os.environ | {"PYTHONIOENCODING": "ascii", **environment},
    )


@pytest.fixture
def signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def main_of(monkeypatch, tmp_path, signals):
    """Run a module as `python -m` does, in an empty folder, and return its exit status."""

    def run_here(module, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [module, *arguments])
        monkeypatch.delitem(sys.modules, f"entropy_grounding.{module}", raising=False)
        try:
            runpy.run_module(f"entropy_grounding.{module}", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            return ended.code or 0
        return 0

    return run_here


@pytest.mark.parametrize("module", MODULES)
def test_help_is_shown_anywhere_and_an_unknown_option_is_one_sentence(
    module, main_of, capsys, tmp_path
):
    assert main_of(module, "--help") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert module.rpartition(".")[2] in shown.out
    assert main_of(module, "--nonsense") == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1
    assert refused.err.startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "argument", "said"),
    [
        (
            "report",
            "nonsense",
            "error: 'nonsense' is no clone of this project's repository (no README.md)",
        ),
        ("report", ".", "error: '.' is no clone"),
        ("executed", "00_quickstart", "error: '.' is no clone"),
        ("ground", "nonsense", "error: 'nonsense' is no option: use NAME=VALUE"),
        (
            "evaluate",
            "nonsense=1",
            "error: Could not override 'nonsense'. Key 'nonsense' not in 'EvaluateConfig'",
        ),
        ("ground", "method=[", "error: "),
        ("rerun", "run.examples=1", "error: 'run.examples=1' reaches no cell"),
        ("merge", "nonsense", "error: The results folder 'nonsense' holds no rows"),
    ],
)
def test_what_a_user_can_fix_is_one_sentence_and_status_2(
    module, argument, said, main_of, capsys, tmp_path
):
    assert main_of(module, argument) == 2
    refused = capsys.readouterr().err
    assert refused.startswith(said)
    assert len(refused.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_wheel_or_another_folder_gets_the_sentence_too(tmp_path):
    """The real process, with a terminal that knows ASCII alone."""
    refused = run("report", "ü", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.startswith(b"error: '\\xfc' is no clone of this project's repository")


def test_the_environment_can_ask_for_the_traceback(tmp_path):
    refused = run("ground", "nonsense=1", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert refused.returncode == 1
    assert b"Traceback" in refused.stderr


def test_the_flags_that_are_let_through_are_those_of_hydra():
    assert {
        flag for action in get_args_parser()._actions for flag in action.option_strings
    } == FLAGS
    check_arguments(["-m", "--cfg", "job", "seed=1", "~x", "+y=2", "--multirun"])


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("No ü."), 2, "error: No ü.\n"),
        (SystemExit("error: No."), 2, "error: No.\n"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted: what was finished is kept; run the same command again to go on.\n",
        ),
        (
            SystemExit(143),
            143,
            "terminated: what was finished is kept; run the same command again to go on.\n",
        ),
        (SystemExit(3), 3, ""),
    ],
)
def test_every_end_has_its_status_and_sentence(error, status, said, capsys, signals):
    with pytest.raises(SystemExit) as ended:
        command(raising(error))
    assert ended.value.code == status
    assert capsys.readouterr().err == said


def test_an_error_of_the_program_itself_keeps_its_traceback(signals):
    with pytest.raises(ZeroDivisionError):
        command(raising(ZeroDivisionError()))


def test_a_terminal_without_a_glyph_shows_its_code(tmp_path):
    text = "import sys; from entropy_grounding.commands import command; command(lambda: print('ü →', file=sys.stdout))"
    shown = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (shown.returncode, shown.stdout) == (0, b"\\xfc \\u2192\n")


def test_a_reader_that_has_gone_is_no_error():
    text = "from entropy_grounding.commands import command; command(lambda: print('line\\n' * 100_000))"
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.parametrize("path", sorted(CONF_DIR.glob("*.yaml")), ids=lambda path: path.stem)
def test_hydra_writes_nothing_to_standard_output_and_no_folder_of_its_own(path):
    text = path.read_text()
    if "job_logging" in text:
        assert "override hydra/job_logging: none" in text
        assert "override hydra/hydra_logging: none" in text
        assert "output_subdir: null" in text
        assert 'sweep: {dir: "${' in text


IMPORTS = [
    "import entropy_grounding.evaluate, entropy_grounding.ground; import entropy_grounding as eg",
    "import entropy_grounding as eg; import entropy_grounding.ground; import "
    "entropy_grounding.evaluate",
    "from entropy_grounding import evaluate, ground; import entropy_grounding.evaluate; import "
    "entropy_grounding as eg",
    "import importlib, entropy_grounding as eg; [importlib.import_module(f'entropy_grounding.{n}') "
    "for n in ('ground', 'evaluate')]",
]


@pytest.mark.parametrize("imports", IMPORTS)
def test_an_import_of_a_command_leaves_the_function_of_its_name(imports):
    checked = (
        f"{imports}\nfrom entropy_grounding.evaluation import evaluate as e\nfrom "
        "entropy_grounding.zoom import ground as g\n"
        "assert eg.evaluate is e and eg.ground is g, (eg.evaluate, eg.ground)\n"
        "from entropy_grounding import evaluate, ground\nassert evaluate is e and ground is g\n"
    )
    done = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
