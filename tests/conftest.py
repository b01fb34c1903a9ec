import os
import signal

import matplotlib
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

import support.typecheck  # noqa: F401, the hook looks it up by its name
from support.contract_table import contract_table

install_import_hook("entropy_grounding", "support.typecheck.tower")
matplotlib.use("Agg")
settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")
torch.set_num_threads(1)
os.environ["ENTROPY_GROUNDING_CACHE"] = ""  # what is tested is computed


def pytest_addoption(parser):
    parser.addoption(
        "--freeze-prompts",
        action="store_true",
        help="write the prompt snapshots anew instead of comparing",
    )
    parser.addoption(
        "--contract-table",
        action="store_true",
        help="print the contract as a table, check by family",
    )


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("contract_table"):
        terminalreporter.write_line(contract_table(terminalreporter.stats))


@pytest.fixture
def signals():
    """Restore what a command line does with SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def eg(monkeypatch, tmp_path, signals):
    """Run a command in an empty folder, and return its exit status.

    It runs in this process: another one would import torch first, for five seconds.
    """
    from entropy_grounding import __main__ as command_line

    def run_here(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["eg", *arguments])
        try:
            command_line.main()
        except SystemExit as ended:
            return ended.code or 0
        return 0

    return run_here


@pytest.fixture(scope="session")
def tiny_vlm():
    """The committed tiny LLaVA."""
    from entropy_grounding import load_vlm

    return load_vlm("tiny_llava")


@pytest.fixture(scope="session")
def random_vlm():
    """The same class with untrained weights."""
    from entropy_grounding.tiny.architectures import Size, build_llava
    from entropy_grounding.vlm.llava import LlavaFamily
    from entropy_grounding.vlm.model import VLM

    torch.manual_seed(0)
    model, processor = build_llava(Size(32, 2, 2))
    return VLM(model, processor, LlavaFamily(), "random")


@pytest.fixture(scope="session")
def scene():
    """A held-out scene as (image, question)."""
    from entropy_grounding.benchmarks.miniature.questions import held_out_example
    from entropy_grounding.benchmarks.miniature.scenes import draw_scene

    drawn, question = held_out_example(6)
    return draw_scene(drawn), question
