"""Places and free texts on command lines: what a user types is what arrives."""

import dataclasses
import re
import string
import typing

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from entropy_grounding.app.question import GroundConfig, ground_config
from entropy_grounding.core.config import compose_config, override_list, quoted_arguments
from entropy_grounding.core.verbatim import expanded, is_place, quote_text, verbatim_options
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.validation import CalibrateConfig
from entropy_grounding.experiments.config import ExperimentConfig, composed
from entropy_grounding.experiments.job import JobConfig
from entropy_grounding.experiments.launch import command_line
from entropy_grounding.tiny.check import CheckConfig
from entropy_grounding.tiny.train import TrainConfig
from support.nasty_texts import NASTY

COMMANDS = {
    "ground": GroundConfig,
    "evaluate": EvaluateConfig,
    "calibrate": CalibrateConfig,
    "rerun": ExperimentConfig,
    "job": JobConfig,
    "train": TrainConfig,
    "check": CheckConfig,
}
NAMED_LIKE_PLACES = re.compile(
    r"(^|_)(dir|path|folder|file|weights|images?|boxes|rows_in|output|from)$"
)


def value_of(config, option):
    for name in option.split("."):
        config = getattr(config, name)
    return config


def fields_of(options, prefix=""):
    for name, hint in typing.get_type_hints(options, include_extras=True).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from fields_of(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_that_is_a_place_is_marked(command):
    unmarked = [
        name
        for name, hint in fields_of(COMMANDS[command])
        if NAMED_LIKE_PLACES.search(name.rpartition(".")[2])
        and "str" in str(hint)
        and not is_place(hint)
    ]
    assert not unmarked


def test_the_options_that_are_places():
    """A list to read, so that one that loses its mark is missed."""
    assert {"image", "question", "run_dir", "vlm.weights"} <= set(verbatim_options(GroundConfig))
    data = {"benchmark.path", "benchmark.images", "benchmark.boxes", "benchmark.rows_in"}
    assert data | {"results_dir", "vlm.weights"} <= set(verbatim_options(EvaluateConfig))
    assert {"results_dir", "rows_dir"} <= set(verbatim_options(CalibrateConfig))
    assert {"results_dir", "output_dir"} <= set(verbatim_options(ExperimentConfig)) & set(
        verbatim_options(JobConfig)
    )
    assert {"run_dir", "output", "language_from"} <= set(verbatim_options(TrainConfig))
    assert "results_dir" in verbatim_options(CheckConfig)


@pytest.mark.parametrize("shift", range(0, len(NASTY), 3))
@pytest.mark.parametrize("command", COMMANDS)
def test_every_place_and_text_arrives_as_it_was_typed(command, shift):
    """Every option at once, each with another of the nasty names."""
    options = COMMANDS[command]
    names = verbatim_options(options)
    typed = {name: NASTY[(shift + number) % len(NASTY)] for number, name in enumerate(names)}
    extra = ["method_name=m"] if options is EvaluateConfig else []
    found = compose_config(
        [*quote_text([f"{name}={text}" for name, text in typed.items()], names), *extra],
        command,
        options,
    )
    assert {name: value_of(found, name) for name in names} == typed


TEXTS = st.text(alphabet=string.printable + "üé日\\'\"${}", min_size=1, max_size=20)


@settings(max_examples=300, deadline=None)
@given(TEXTS.filter(lambda text: text != "null"))
def test_any_text_arrives_through_the_overrides_of_hydra(text):
    """Hydra's own steps on a configuration of one option: `conf` would be composed 300 times."""
    typed = quote_text([f"question={text}"], ["question"])
    config = OmegaConf.create({"question": ""})
    overrides = OverridesParser.create().parse_overrides(typed)
    ConfigLoaderImpl._apply_overrides_to_config(overrides, config)
    assert config.question == text


@settings(max_examples=10, deadline=None)
@given(TEXTS.filter(lambda text: text != "null"))
def test_any_text_is_a_question(text):
    assert ground_config(quote_text([f"question={text}"], ["question"])).question == text


@pytest.mark.parametrize("text", NASTY)
def test_a_cell_gets_the_places_and_overrides_of_a_rerun(text, tmp_path):
    folder = str(tmp_path / text)
    setup = composed(
        quoted_arguments(
            [
                f"results_dir={folder}",
                f"output_dir={folder}",
                f"vlm.weights={folder}",
                "vlm=tiny_llava",
                "benchmark=mini_gqa",  # one evaluation is composed, not 168
                "method=entropy_gradient",
            ]
        )
    )
    given = JobConfig(
        "table1",
        "mini",
        "tiny_llava/mini_gqa",
        "a+b",
        setup.overrides,
        setup.results_dir,
        setup.output_dir,
        "disabled",
        3,
    )
    found = compose_config(
        quote_text(command_line([given]), verbatim_options(JobConfig)), "job", JobConfig
    )
    assert (found.results_dir, found.output_dir) == (folder, folder)
    assert found == given
    again = compose_config([*found.overrides, "method_name=m"], "evaluate", EvaluateConfig)
    assert again.vlm.weights == folder


def test_home_is_expanded_in_every_place_and_in_no_text(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    given = ["image=~/a.png", "run_dir=~/run", "vlm.weights=~/w", "question=~/what"]
    found = ground_config(quote_text(given, verbatim_options(GroundConfig)))
    assert (found.image, found.run_dir, found.vlm.weights) == (
        "/home/someone/a.png",
        "/home/someone/run",
        "/home/someone/w",
    )
    assert found.question == "~/what"
    assert expanded(("~/a", "b")) == ("/home/someone/a", "b")
    assert compose_config(
        ["start_from=['~/a', 'tiny:llava']"], "train", TrainConfig
    ).start_from == ["/home/someone/a", "tiny:llava"]


def test_null_is_none_and_an_empty_text_is_empty():
    assert (
        ground_config(quote_text(["image=null", "question="], ["image", "question"])).image is None
    )
    assert ground_config(quote_text(["question="], ["question"])).question == ""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("vlm=tiny_qwen2_5_vl", ["vlm=tiny_qwen2_5_vl"]),
        ("vlm=a,method.regions.sigma=2.0", ["vlm=a", "method.regions.sigma=2.0"]),
        ("vlm=a, +method.x=[1,y=2],seed=3", ["vlm=a", "+method.x=[1,y=2]", "seed=3"]),
        ("stages=[{kind: align, steps: 3}],seed=1", ["stages=[{kind: align, steps: 3}]", "seed=1"]),
        (
            "seed=1,method.neutral_question='a, b=c',vlm=d",
            ["seed=1", "method.neutral_question='a, b=c'", "vlm=d"],
        ),
        ("question=What's this, exactly?,vlm=b", [r"question='What\'s this, exactly?'", "vlm=b"]),
        ("vlm.weights=/data/my weights (1)", ["vlm.weights='/data/my weights (1)'"]),
        (
            ["vlm.weights=/a b", "vlm.weights='/a b'", "x=[1,y=2]"],
            ["vlm.weights='/a b'", "vlm.weights='/a b'", "x=[1,y=2]"],
        ),
        ("", []),
        ([], []),
        (None, []),
    ],
)
def test_overrides_of_a_notebook_may_be_one_text(given, expected):
    assert override_list(given) == expected
