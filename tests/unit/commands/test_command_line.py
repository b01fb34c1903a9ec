"""Every command line begins and ends alike.

Help everywhere, one sentence and status 2 for what a user can fix.
"""

import os
import subprocess
import sys

import pytest
from hydra._internal.utils import get_args_parser
from hydra.errors import ConfigCompositionException

from entropy_grounding.commands.catalogue import FLAGS, SENTENCES, check_options, described
from entropy_grounding.commands.command_line import command
from entropy_grounding.commands.describe import describe
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "entropy_grounding", *arguments],
        capture_output=True,
        cwd=cwd,
        env=os.environ | {"PYTHONIOENCODING": "ascii", **environment},
    )


def test_eg_alone_lists_every_command_with_one_line(eg, capsys):
    assert eg() == 0
    lines = capsys.readouterr().out.splitlines()
    for name, sentence in SENTENCES.items():
        assert f"  {name:<10} {sentence}" in lines


@pytest.mark.parametrize("name", SENTENCES)
def test_help_is_shown_anywhere_and_an_unknown_option_is_one_sentence(name, eg, capsys, tmp_path):
    assert eg(name, "--help") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(f"usage: eg {name} ")
    assert eg(name, "--nonsense") == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1
    assert refused.err.startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["ground", "evaluate", "calibrate", "train", "check", "rerun"])
def test_help_explains_every_option(name, eg, capsys):
    eg(name, "--help")
    shown = " ".join(capsys.readouterr().out.split())
    described = describe()[name]["options"]
    assert len(described) > 10
    for option in described:
        assert f"{option['name']}={option['default']} " in f"{shown} "
        assert not option["help"] or option["help"] in shown


def test_the_described_options_are_those_of_the_dataclasses():
    from entropy_grounding.commands import catalogue

    assert catalogue.described() == describe()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evalute"], "Unknown command 'evalute': did you mean 'evaluate'?"),
        (["evaluate", "vlm=tiny_lava"], "Unknown vlm 'tiny_lava': did you mean 'tiny_llava'?"),
        (["evaluate", "benchmark=mini_textvqq"], "did you mean 'mini_textvqa'?"),
        (["ground", "method=entropy_gradiant"], "did you mean 'entropy_gradient'?"),
        (["ground", "imgae=x.png"], "Unknown option 'imgae': did you mean 'image'?"),
        (["ground", "vlm.dtyp=float16"], "did you mean 'vlm.dtype'?"),
        (["ground", "sigma=2"], "did you mean 'method.regions.sigma'?"),
        (["ground", "--image", "x.png"], "'--image' is no option: use image=x.png."),
        (["ground", "--image=x.png"], "'--image=x.png' is no option: use image=x.png."),
        (["ground", "--max-new-tokens", "9"], "use max_new_tokens=9."),
        (["ground", "photo.JPG"], "'photo.JPG' is no option: use image=photo.JPG."),
        (["evaluate", "vlm=tiny_llava,tiny_internvl"], "names 2: add -m"),
        (["rerun", "--dryrun"], "did you mean --dry-run?"),
        (["rerun", "experiment=tabel1"], "did you mean 'table1'?"),
        (["rerun", "-p", "vlm=tiny_llava"], "'-p' is no option: use NAME=VALUE"),
        (["rerun", "vlm=tiny_lava"], "did you mean 'tiny_llava'?"),
        (["rerun", "method=entropy_gradeint"], "did you mean 'entropy_gradient'?"),
        (["rerun", "method.sigma=2"], "Did you mean 'method.regions.sigma'?"),
        (["rerun", "tracking=ofline"], "Did you mean 'offline'?"),
    ],
)
def test_a_natural_mistake_gets_the_nearest_right_word(arguments, said, eg, capsys):
    assert eg(*arguments) == 2
    refused = capsys.readouterr().err
    assert said in refused
    assert len(refused.splitlines()) == 1


@pytest.mark.parametrize("name", described())
def test_a_command_without_any_option_is_no_mistake(name):
    check_options(name, [])


@pytest.mark.parametrize("arguments", [["--help"], ["ground", "--help"], ["ground", "imgae=x"]])
def test_help_and_a_wrong_option_import_nothing_heavy(arguments, tmp_path):
    text = (
        "import sys; from entropy_grounding.__main__ import main\n"
        "sys.argv = ['eg', *sys.argv[1:]]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'hydra', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", text, *arguments], capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["report", "nonsense"],
            "error: 'nonsense' is no clone of this project's repository (no README.md)",
        ),
        (["report", "."], "error: '.' is no clone"),
        (["notebooks", "copies", "00_quickstart"], "error: '.' is no clone"),
        (["ground", "nonsense"], "error: 'nonsense' is no option: use NAME=VALUE"),
        (["evaluate", "nonsense=1"], "error: Unknown option 'nonsense'"),
        (["ground", "method=["], "error: "),
        (["rerun", "run.examples=1"], "error: "),
        (["merge", "nonsense"], "error: The results folder 'nonsense' holds no rows"),
    ],
)
def test_what_a_user_can_fix_is_one_sentence_and_status_2(arguments, said, eg, capsys, tmp_path):
    assert eg(*arguments) == 2
    refused = capsys.readouterr().err
    assert refused.startswith(said)
    assert len(refused.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_wheel_or_another_folder_gets_the_sentence_too(tmp_path):
    """The real process, with a terminal that knows ASCII alone."""
    refused = run("report", "ü", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert refused.stderr.startswith(b"error: '\\xfc' is no clone of this project's repository")


def test_the_environment_can_ask_for_the_traceback(eg, capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigCompositionException):  # Python itself prints it, and ends with 1
        eg("ground", "seed=x")
    assert "error: " not in capsys.readouterr().err


def test_the_flags_that_are_let_through_are_those_of_hydra():
    assert {
        flag for action in get_args_parser()._actions for flag in action.option_strings
    } == FLAGS
    check_options("ground", ["-m", "--cfg", "job", "seed=1", "~image", "+seed=2", "--multirun"])


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
    text = (
        "import sys; from entropy_grounding.commands.command_line import command; "
        "command(lambda: print('ü →', file=sys.stdout))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (shown.returncode, shown.stdout) == (0, b"\\xfc \\u2192\n")


def test_a_reader_that_has_gone_is_no_error():
    text = (
        "from entropy_grounding.commands.command_line import command; "
        "command(lambda: print('line\\n' * 100_000))"
    )
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
