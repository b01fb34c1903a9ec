"""The configuration of an experiment (a table or an ablation), and its evaluations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from entropy_grounding.benchmarks.load import boxes_note
from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.config import compose_config, override_list, register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.core.verbatim import Place, quote_text
from entropy_grounding.evaluation.archive import OUTPUTS
from entropy_grounding.evaluation.config import EvaluateConfig, resolved
from entropy_grounding.experiments.places import check_of_one, local_data, local_weights

# The beginnings of the overrides that change an evaluation, not the experiment.
SECTIONS = ("vlm.", "benchmark.", "method.")


@dataclass(frozen=True)
class Variant:
    """One line of a table.

    Attributes:
        name: the name in labels and folders.
        method: a preset of ``conf/method``.
        overrides: Hydra overrides of ``conf/evaluate.yaml`` that are applied after the preset.
        runs: names of ``conf/run`` that have this line (or what they are ``like``); empty for all.
    """

    name: str
    method: str = "entropy_gradient"
    overrides: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A table or an ablation, from ``conf/experiment``.

    Attributes:
        name: the name of the folder of its results.
        title: the title that readers see.
        notebook: the notebook that shows the experiment, without ".ipynb".
        variants: the lines of the table.
        reference: the variant that the others are tested against.
        vlms: names from ``conf/vlm``, by the name of a run (or of what it is ``like``); a run that
            is not here uses its own.
        benchmarks: names from ``conf/benchmark``, by the name of a run in the same way.
        examples: the number of examples of each benchmark, by the name of a run; a run that is not
            here uses its own.
        paper: scores of the paper in percent, by VLM family, variant and benchmark.
        share: answer each example by all missing variants, and compute once what they have in
            common. Seconds are not recorded then.
    """

    name: str = ""
    title: str = ""
    notebook: str = ""
    variants: tuple[Variant, ...] = ()
    reference: str = "entropy_gradient"
    vlms: dict[str, Any] = field(default_factory=dict)
    benchmarks: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, Any] = field(default_factory=dict)
    share: bool = False


@dataclass(frozen=True)
class RunSize:
    """How much of an experiment runs, from ``conf/run``.

    Attributes:
        name: the name of the run.
        vlms: names from ``conf/vlm``.
        benchmarks: names from ``conf/benchmark``.
        examples: the number of examples of each benchmark; None for all.
        like: the run whose VLMs, benchmarks and variants of an experiment this one takes; empty
            for its own.
    """

    name: str = "mini"
    vlms: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    examples: int | None = None
    like: str = ""

    @property
    def kind(self) -> str:
        """The name under which an experiment lists VLMs, benchmarks and variants."""
        return self.like or self.name


@dataclass(frozen=True)
class ExperimentConfig:
    """Options of a table notebook and of ``eg rerun``.

    Attributes:
        experiment: the experiment.
        run: how much of it runs.
        only_vlm: the VLMs to run; empty for all. The command line calls this option ``vlm``, and
            the next two ``benchmark`` and ``method``.
        only_benchmark: the benchmarks to run; empty for all.
        only_method: the variants to run; empty for all.
        overrides: Hydra overrides of every evaluation, such as ``vlm.dtype=float32``. On the
            command line they are written as they are.
        results_dir: the folder of the rows, which are stored in EXPERIMENT/VLM/BENCHMARK/METHOD.
            Stored rows of the same configuration are used, wherever they are in this folder.
        weights_dir: the folder with copies of the checkpoints, as ORG/NAME (the hub's names) or
            NAME; None takes the hub.
        data_dir: the folder with copies of the data sets and their boxes, in the same way.
        output_dir: the folder of the executed notebooks, which are stored in EXPERIMENT.
        tracking_mode: a name from ``conf/tracking``; on the command line ``tracking``.
        gpus: the number of GPUs of this machine. Each job takes a free GPU. 0 leaves the choice
            to torch.
    """

    experiment: Experiment = field(default_factory=Experiment)
    run: RunSize = field(default_factory=RunSize)
    only_vlm: tuple[str, ...] = ()
    only_benchmark: tuple[str, ...] = ()
    only_method: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    results_dir: Place = str(OUTPUTS)
    weights_dir: Place | None = None
    data_dir: Place | None = None
    output_dir: Place = "outputs/rerun"
    tracking_mode: str = "offline"
    gpus: int = 0

    def changes(self) -> tuple[str, ...]:
        """Return what a job must be told besides names: the overrides, and where copies lie."""
        places = {"weights_dir": self.weights_dir, "data_dir": self.data_dir}

        # Absolute, because a job may run in another folder.
        named = [f"{name}={Path(place).resolve()}" for name, place in places.items() if place]
        return (*self.overrides, *named)

    def vlms(self) -> tuple[str, ...]:
        """Return the names of the VLMs to run."""
        default = self.experiment.vlms.get(self.run.kind, self.run.vlms)
        return _chosen("vlm", self.only_vlm, default, _named("vlm"))

    def benchmarks(self) -> tuple[str, ...]:
        """Return the names of the benchmarks to run."""
        default = self.experiment.benchmarks.get(self.run.kind, self.run.benchmarks)
        return _chosen("benchmark", self.only_benchmark, default, _named("benchmark"))

    def variants(self) -> tuple[Variant, ...]:
        """Return the lines of the table that are to run."""
        by_name = {
            variant.name: variant
            for variant in self.experiment.variants
            if not variant.runs or self.run.kind in variant.runs
        }

        names = _chosen("method", self.only_method, tuple(by_name), tuple(by_name))
        return tuple(by_name[name] for name in names)


def _named(group: str) -> tuple[str, ...]:
    """Return the names of the files of a folder of ``conf``, sorted."""
    return tuple(sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")))


def _chosen(
    option: str, wanted: Sequence[str], default: Sequence[str], known: Sequence[str]
) -> tuple[str, ...]:
    """Return the wanted names after a check, or the default where no name is wanted."""
    for name in wanted:
        check_choice(option, name, known)

    return tuple(wanted or default)


register("rerun_schema", ExperimentConfig)


def experiments() -> tuple[str, ...]:
    """Return the names of all experiments of ``conf/experiment``."""
    return _named("experiment")


def load_experiment(
    name: str, run: str = "mini", overrides: Sequence[str] = (), **chosen: str
) -> ExperimentConfig:
    """Compose an experiment.

    Args:
        name: a name of ``conf/experiment``.
        run: a name of ``conf/run``.
        overrides: Hydra overrides of every evaluation, such as ``vlm.dtype=float16``.
        chosen: other options. Lists are text separated by commas. Empty text leaves the default.

    Raises:
        InputError: for unknown names, and for variants that do not compose.
    """
    options = [f"{key}={value}" for key, value in chosen.items() if value]

    # A path may hold marks that have a meaning for Hydra.
    options = quote_text(options, ["results_dir", "weights_dir", "data_dir"])
    return composed([f"experiment={name}", f"run={run}", *options, *override_list(overrides)])


def composed(arguments: Sequence[str]) -> ExperimentConfig:
    """Compose an experiment from the arguments of a command line.

    Args:
        arguments: options of the experiment, and overrides of every evaluation
            (``vlm.dtype=float16``).

    Raises:
        InputError: for a wrong name or value anywhere, also in one of the evaluations.
    """
    changes, options = [], []
    for argument in arguments:
        if argument.startswith(SECTIONS):
            changes.append(argument)
        else:
            options.append(as_option(argument))

    setup = compose_config(options, "rerun", ExperimentConfig)
    examples = setup.experiment.examples.get(setup.run.name, setup.run.examples)
    run = replace(setup.run, examples=examples)
    setup = replace(setup, run=run, overrides=(*setup.overrides, *changes))
    check_of_one(setup.overrides, setup.vlms(), setup.benchmarks())
    check(setup)

    # An override of the number of examples wins over the number of the run.
    benchmark = _section("benchmark", setup.benchmarks()[0], setup.overrides).benchmark
    if any(override.startswith("benchmark.examples=") for override in setup.overrides):
        return replace(setup, run=replace(setup.run, examples=benchmark.examples))

    return setup


def as_option(argument: str) -> str:
    """Return an argument of a command line as the option that Hydra reads.

    ``vlm=A,B`` becomes ``only_vlm=[A,B]``, because Hydra has groups with the names vlm, benchmark,
    method and tracking. Other arguments stay as they are.
    """
    key, _, value = argument.partition("=")
    if key in ("vlm", "benchmark", "method"):
        return f"only_{key}={value}" if value.startswith("[") else f"only_{key}=[{value}]"

    return f"tracking_mode={value}" if key == "tracking" else argument


def evaluations(setup: ExperimentConfig) -> Iterator[tuple[Variant, EvaluateConfig]]:
    """Yield every evaluation of an experiment, ordered by VLM, benchmark and variant."""
    for vlm in setup.vlms():
        for benchmark in setup.benchmarks():
            for variant in setup.variants():
                config = evaluation(setup, vlm, benchmark, variant)

                # An oracle has nothing to show where the data have no boxes.
                oracle = config.method.crops.startswith("oracle")
                if not (oracle and boxes_note(config.benchmark)):
                    yield variant, config


def evaluation(
    setup: ExperimentConfig, vlm: str, benchmark: str, variant: Variant
) -> EvaluateConfig:
    """Return the configuration of one VLM, benchmark and variant.

    What depends on another section is filled in, such as the size of the pictures.
    """
    # The overrides of the experiment come last, so they win over those of the variant.
    changes = (*variant.overrides, *setup.overrides)
    tracking = _composed(f"tracking={setup.tracking_mode}").tracking
    data = local_data(_section("benchmark", benchmark, changes).benchmark, setup.data_dir)

    config = EvaluateConfig(
        vlm=local_weights(_section("vlm", vlm, changes).vlm, setup.weights_dir),
        benchmark=replace(data, examples=setup.run.examples or data.examples),
        method=_section("method", variant.method, changes).method,
        tracking=replace(tracking, group=setup.experiment.name),
        method_name=variant.name,
        results_dir=str(Path(setup.results_dir) / setup.experiment.name),
    )
    return resolved(config)


def _section(group: str, name: str, overrides: Sequence[str]) -> EvaluateConfig:
    """Compose one section of an evaluation, with the overrides of this section only.

    To compose the whole configuration of every job would take minutes; sections are cached.
    """
    changes = [override for override in overrides if override.startswith(f"{group}.")]
    return _composed(f"{group}={name}", *changes)


@cache
def _composed(*overrides: str) -> EvaluateConfig:
    """Compose an evaluation; only the section that the overrides name is used."""
    return compose_config([*overrides, "method_name=any"], "evaluate", EvaluateConfig)


def check(setup: ExperimentConfig) -> None:
    """Compose every evaluation, to find errors before anything runs.

    Raises:
        InputError: for a wrong name or value anywhere.
    """
    overrides = list(setup.overrides)
    for variant in setup.experiment.variants:
        overrides += variant.overrides

    for override in overrides:
        if not override.startswith(SECTIONS):
            raise InputError(
                f"The override '{override}' is of no section: "
                "it must begin with vlm., benchmark. or method."
            )

    # The iterator composes an evaluation only when it is read.
    list(evaluations(setup))
