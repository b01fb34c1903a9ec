"""Experiments: a table or an ablation as configuration, its cells, which of them are stored, and their summary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from entropy_grounding.benchmarks.load import boxes_note
from entropy_grounding.core.config import compose_config, override_list, register
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.paths import CONF_DIR, ROOT
from entropy_grounding.core.verbatim import Place, quote_text
from entropy_grounding.evaluation.config import EvaluateConfig, resolved

SECTIONS = ("vlm.", "benchmark.", "method.")  # of an evaluation's options
OUTPUTS, STORED = ROOT / "outputs" / "results", ROOT / "results"


@dataclass(frozen=True)
class Variant:
    """One line of a table.

    Attributes:
        name: for labels and folders.
        method: a preset of ``conf/method``.
        overrides: Hydra overrides of ``conf/evaluate.yaml`` on top of it.
        runs: names of ``conf/run`` that have this line; empty for all.
    """

    name: str
    method: str = "entropy_gradient"
    overrides: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A table or an ablation, from ``conf/experiment``.

    Attributes:
        name: of the folder of its results.
        title: for people.
        notebook: the one that shows it, without ".ipynb".
        variants: its lines.
        reference: the variant that the others are tested against.
        vlms: by the name of a run, names from ``conf/vlm``; where a run has none here, its own.
        benchmarks: the same, names from ``conf/benchmark``.
        paper: scores of the paper in percent, by VLM family, variant and benchmark.
        share: answer each example by all missing variants, and compute once what they have in common; no seconds are recorded then.
    """

    name: str = ""
    title: str = ""
    notebook: str = ""
    variants: tuple[Variant, ...] = ()
    reference: str = "entropy_gradient"
    vlms: dict[str, Any] = field(default_factory=dict)
    benchmarks: dict[str, Any] = field(default_factory=dict)
    paper: dict[str, Any] = field(default_factory=dict)
    share: bool = False


@dataclass(frozen=True)
class RunSize:
    """How much of an experiment runs, from ``conf/run``: which VLMs, which benchmarks, and how many examples (None: all)."""

    name: str = "mini"
    vlms: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    examples: int | None = None


@dataclass(frozen=True)
class ExperimentConfig:
    """Options of a table notebook and of ``python -m entropy_grounding.rerun``.

    Attributes:
        experiment: which one.
        run: how much of it.
        only_vlm: these of its VLMs; empty for all. On the command line ``vlm``, and so for the next two.
        only_benchmark: these of its benchmarks; empty for all.
        only_method: these of its variants; empty for all.
        overrides: Hydra overrides of every evaluation, such as ``vlm.dtype=float32``; on the command line as they are.
        results_dir: rows go to EXPERIMENT/VLM/BENCHMARK/METHOD in it; rows of the same configuration that lie anywhere in it are used.
        output_dir: executed notebooks go to EXPERIMENT in it.
        tracking_mode: a name from ``conf/tracking``; on the command line ``tracking``.
        gpus: of this machine, each cell takes a free one; 0 leaves the choice to torch.
    """

    experiment: Experiment = field(default_factory=Experiment)
    run: RunSize = field(default_factory=RunSize)
    only_vlm: tuple[str, ...] = ()
    only_benchmark: tuple[str, ...] = ()
    only_method: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    results_dir: Place = str(OUTPUTS)
    output_dir: Place = "outputs/rerun"
    tracking_mode: str = "offline"
    gpus: int = 0

    def vlms(self) -> tuple[str, ...]:
        """Return the VLMs to run."""
        return _chosen(
            "vlm",
            self.only_vlm,
            self.experiment.vlms.get(self.run.name, self.run.vlms),
            _named("vlm"),
        )

    def benchmarks(self) -> tuple[str, ...]:
        """Return the benchmarks to run."""
        return _chosen(
            "benchmark",
            self.only_benchmark,
            self.experiment.benchmarks.get(self.run.name, self.run.benchmarks),
            _named("benchmark"),
        )

    def variants(self) -> tuple[Variant, ...]:
        """Return the lines of the table."""
        known = {
            each.name: each
            for each in self.experiment.variants
            if not each.runs or self.run.name in each.runs
        }
        return tuple(
            known[name] for name in _chosen("method", self.only_method, tuple(known), tuple(known))
        )


def _named(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")))


def _chosen(
    option: str, wanted: Sequence[str], default: Sequence[str], known: Sequence[str]
) -> tuple[str, ...]:
    for name in wanted:
        if name not in known:
            raise InputError(f"Unknown {option} '{name}': use one of {', '.join(known)}.")
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
        name: of ``conf/experiment``.
        run: of ``conf/run``.
        overrides: Hydra overrides of every evaluation, such as ``vlm.dtype=float16``.
        chosen: other options, lists as comma-separated text; empty ones leave the default.

    Raises:
        InputError: for unknown names, and for variants that do not compose.
    """
    given = [f"{key}={value}" for key, value in chosen.items() if value]
    return composed(
        [
            f"experiment={name}",
            f"run={run}",
            *quote_text(given, ["results_dir"]),
            *override_list(overrides),
        ]
    )


def composed(arguments: Sequence[str]) -> ExperimentConfig:
    """Compose an experiment from arguments of a command line: its options, and overrides of every evaluation (``vlm.dtype=float16``).

    Raises:
        InputError: for a wrong name or value anywhere, also in one of the evaluations.
    """
    changes = [each for each in arguments if each.startswith(SECTIONS)]
    setup = compose_config(
        [as_option(each) for each in arguments if each not in changes], "rerun", ExperimentConfig
    )
    setup = replace(setup, overrides=(*setup.overrides, *changes))
    check(setup)
    given = _section("benchmark", setup.benchmarks()[0], setup.overrides).benchmark.examples
    counted = any(each.startswith("benchmark.examples=") for each in setup.overrides)
    return replace(setup, run=replace(setup.run, examples=given)) if counted else setup


def as_option(argument: str) -> str:
    """Turn ``vlm=A,B`` and the like into the option that Hydra reads; its groups have those names. Other arguments stay as they are."""
    key, _, value = argument.partition("=")
    if key in ("vlm", "benchmark", "method"):
        return f"only_{key}={value}" if value.startswith("[") else f"only_{key}=[{value}]"
    return f"tracking_mode={value}" if key == "tracking" else argument


def evaluations(setup: ExperimentConfig) -> Iterator[tuple[Variant, EvaluateConfig]]:
    """Yield every evaluation of an experiment, by VLM, benchmark and variant; no oracle where the data have no boxes."""
    for vlm in setup.vlms():
        for benchmark in setup.benchmarks():
            for variant in setup.variants():
                config = evaluation(setup, vlm, benchmark, variant)
                if not (
                    config.method.crops.startswith("oracle") and boxes_note(config.benchmark)
                ):  # nothing that it could show
                    yield variant, config


def evaluation(
    setup: ExperimentConfig, vlm: str, benchmark: str, variant: Variant
) -> EvaluateConfig:
    """Return the configuration of one VLM, benchmark and variant, with the size of its pictures filled in."""
    changes = (*variant.overrides, *setup.overrides)
    tracking = replace(
        _composed(f"tracking={setup.tracking_mode}").tracking, group=setup.experiment.name
    )
    data = _section("benchmark", benchmark, changes).benchmark
    config = EvaluateConfig(
        vlm=_section("vlm", vlm, changes).vlm,
        benchmark=replace(data, examples=setup.run.examples or data.examples),
        method=_section("method", variant.method, changes).method,
        tracking=tracking,
        method_name=variant.name,
        results_dir=str(Path(setup.results_dir) / setup.experiment.name),
    )
    return resolved(config)


def _section(group: str, name: str, overrides: Sequence[str]) -> EvaluateConfig:
    """Compose one section of an evaluation: composing all of every cell would take minutes."""
    return _composed(
        f"{group}={name}", *(each for each in overrides if each.startswith(f"{group}."))
    )


@cache
def _composed(*overrides: str) -> EvaluateConfig:
    return compose_config([*overrides, "method_name=any"], "evaluate", EvaluateConfig)


def check(setup: ExperimentConfig) -> None:
    """Compose every evaluation, so that a wrong name or value anywhere is an `InputError` before anything runs."""
    for override in [
        *setup.overrides,
        *(each for variant in setup.experiment.variants for each in variant.overrides),
    ]:
        if not override.startswith(SECTIONS):
            raise InputError(
                f"The override '{override}' is of no section: it must begin with vlm., benchmark. or method."
            )
    list(evaluations(setup))
