"""Experiments: a table or an ablation as configuration, its cells, which of them are stored, and their summary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from entropy_grounding.benchmarks import boxes_note
from entropy_grounding.configs import CONF_DIR, ROOT, compose_config, override_list, register
from entropy_grounding.errors import InputError
from entropy_grounding.evaluation import EvaluateConfig, evaluate, evaluate_together, fingerprint, resolved, results_folder
from entropy_grounding.league import summarised
from entropy_grounding.results import is_complete, read_manifest
from entropy_grounding.tiny.build import BIG_SIBLINGS
from entropy_grounding.verbatim import Place, quote_text
from entropy_grounding.vlm import VLM, load_vlm
from entropy_grounding.vlm.identity import UnresolvedError

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
        return _chosen("vlm", self.only_vlm, self.experiment.vlms.get(self.run.name, self.run.vlms), _named("vlm"))

    def benchmarks(self) -> tuple[str, ...]:
        """Return the benchmarks to run."""
        return _chosen(
            "benchmark", self.only_benchmark, self.experiment.benchmarks.get(self.run.name, self.run.benchmarks), _named("benchmark")
        )

    def variants(self) -> tuple[Variant, ...]:
        """Return the lines of the table."""
        known = {each.name: each for each in self.experiment.variants if not each.runs or self.run.name in each.runs}
        return tuple(known[name] for name in _chosen("method", self.only_method, tuple(known), tuple(known)))


def _named(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")))


def _chosen(option: str, wanted: Sequence[str], default: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for name in wanted:
        if name not in known:
            raise InputError(f"Unknown {option} '{name}': use one of {', '.join(known)}.")
    return tuple(wanted or default)


register("rerun_schema", ExperimentConfig)


def experiments() -> tuple[str, ...]:
    """Return the names of all experiments of ``conf/experiment``."""
    return _named("experiment")


def load_experiment(name: str, run: str = "mini", overrides: Sequence[str] = (), **chosen: str) -> ExperimentConfig:
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
    return composed([f"experiment={name}", f"run={run}", *quote_text(given, ["results_dir"]), *override_list(overrides)])


def composed(arguments: Sequence[str]) -> ExperimentConfig:
    """Compose an experiment from arguments of a command line: its options, and overrides of every evaluation (``vlm.dtype=float16``).

    Raises:
        InputError: for a wrong name or value anywhere, also in one of the evaluations.
    """
    changes = [each for each in arguments if each.startswith(SECTIONS)]
    setup = compose_config([as_option(each) for each in arguments if each not in changes], "rerun", ExperimentConfig)
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
                if not (config.method.crops.startswith("oracle") and boxes_note(config.benchmark)):  # nothing that it could show
                    yield variant, config


def evaluation(setup: ExperimentConfig, vlm: str, benchmark: str, variant: Variant) -> EvaluateConfig:
    """Return the configuration of one VLM, benchmark and variant, with the size of its pictures filled in."""
    changes = (*variant.overrides, *setup.overrides)
    tracking = replace(_composed(f"tracking={setup.tracking_mode}").tracking, group=setup.experiment.name)
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
    return _composed(f"{group}={name}", *(each for each in overrides if each.startswith(f"{group}.")))


@cache
def _composed(*overrides: str) -> EvaluateConfig:
    return compose_config([*overrides, "method_name=any"], "evaluate", EvaluateConfig)


def check(setup: ExperimentConfig) -> None:
    """Compose every evaluation, so that a wrong name or value anywhere is an `InputError` before anything runs."""
    for override in [*setup.overrides, *(each for variant in setup.experiment.variants for each in variant.overrides)]:
        if not override.startswith(SECTIONS):
            raise InputError(f"The override '{override}' is of no section: it must begin with vlm., benchmark. or method.")
    list(evaluations(setup))


def stored_index(*roots: str | Path) -> dict[str, Path]:
    """Return the folders of joined rows below these folders, by config hash; of several the first."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted(Path(root).glob("*/*/*/*/rows.parquet")):
            if path.with_name("manifest.json").is_file():
                found.setdefault(read_manifest(path.with_name("manifest.json")).get("config_hash", ""), path.parent)
    return found


def stored_folder(config: EvaluateConfig, index: dict[str, Path]) -> Path | None:
    """Return the folder that holds all rows of an evaluation: its own, or one of the same configuration; None where some are missing."""
    own = results_folder(config)
    try:
        wanted = fingerprint(config)
    except UnresolvedError:  # nobody knows which weights or data that would be, so nothing of them is stored
        return None

    for folder in dict.fromkeys((own, index.get(wanted, own))):
        path = folder / "manifest.json"
        if not (folder / "rows.parquet").is_file() or not path.is_file() or read_manifest(path).get("config_hash") != wanted:
            continue
        if is_complete(folder, config.benchmark.examples):
            return folder
    return None


def complete(setup: ExperimentConfig, *, roots: Sequence[str | Path] = ()) -> dict[tuple[str, str, str], Path]:
    """Run the evaluations that are not stored yet, each VLM loaded once, and return the folder of every (VLM, benchmark, variant).

    Args:
        setup: the experiment.
        roots: more folders than ``setup.results_dir`` in which stored rows are looked for.
    """
    index = stored_index(setup.results_dir, *roots)
    folders: dict[tuple[str, str, str], Path] = {}
    missing: dict[tuple[str, str], list[EvaluateConfig]] = {}
    for variant, config in evaluations(setup):
        cell = config.vlm.name, config.benchmark.name
        folder = stored_folder(config, index)
        folders[(*cell, variant.name)] = folder or results_folder(config)
        if folder is None:
            missing.setdefault(cell, []).append(config)
    loaded: dict[str, VLM] = {}
    for (name, _), configs in missing.items():
        loaded = loaded if name in loaded else {name: load_vlm(configs[0].vlm)}
        if setup.experiment.share:
            evaluate_together(configs, loaded[name])
        else:
            for config in configs:
                evaluate(config, loaded[name])
    return folders


def summary(setup: ExperimentConfig, folders: dict[tuple[str, str, str], Path]) -> pd.DataFrame:
    """Return the scores, intervals, tests, places and costs of stored evaluations, one row a VLM, benchmark and variant, and "plain".

    Columns: see `league.cells`; ``p_ours`` is tested against the reference variant of the experiment.
    """
    lines = []
    for vlm, benchmark in dict.fromkeys((vlm, benchmark) for vlm, benchmark, _ in folders):
        stored = {name: folder for (v, b, name), folder in folders.items() if (v, b) == (vlm, benchmark)}
        reference = stored.get(setup.experiment.reference, next(iter(stored.values())))
        lines += [summarised(folder, reference, name, setup.run.examples) for name, folder in (("plain", reference), *stored.items())]
    return pd.DataFrame(lines)


@dataclass(frozen=True)
class Opened:
    """An experiment whose rows are all stored: its options, the folder of each (VLM, benchmark, variant), and their summary."""

    setup: ExperimentConfig
    folders: dict[tuple[str, str, str], Path]
    cells: pd.DataFrame


def open_experiment(name: str, run: str = "mini", *, results_dir: str = "", overrides: Sequence[str] = (), **chosen: str) -> Opened:
    """Return an experiment with its rows, after running what is not stored yet; the first lines of a table notebook.

    Args:
        name: of ``conf/experiment``.
        run: of ``conf/run``.
        results_dir: where rows are and go; empty: outputs/results of the repository, and those of its results folder are used, too.
        overrides: Hydra overrides of every evaluation.
        chosen: ``vlm``, ``benchmark``, ``method`` (comma-separated, empty for all) and ``tracking``.
    """
    setup = load_experiment(name, run, overrides, results_dir=results_dir or str(OUTPUTS), **chosen)
    folders = complete(setup, roots=() if results_dir else (STORED,))
    return Opened(setup, folders, summary(setup, folders))


def directions(cells: pd.DataFrame, setup: ExperimentConfig) -> pd.DataFrame:
    """Return, for every cell of the paper's Table 1, the gain of `entropy_gradient` over plain there and here, and whether the signs agree.

    Columns: ``vlm``, ``benchmark``, ``paper`` (points, of the family's big checkpoint), ``here`` (points), ``p`` (paired, not adjusted),
    ``agrees``: "yes", "no", or "no change here" where p >= 0.05. Paper and tiny VLMs are different models: signs are compared, never sizes.
    """
    lines = []
    for (vlm, benchmark), rows in cells.groupby(["vlm", "benchmark"], sort=False):
        paper = setup.experiment.paper.get(BIG_SIBLINGS.get(str(vlm), str(vlm)), {})
        scores = rows.set_index("method")
        if benchmark not in paper.get("plain", {}) or "entropy_gradient" not in scores.index:
            continue
        there = paper["entropy_gradient"][benchmark] - paper["plain"][benchmark]
        here, p = 100 * (scores["score"]["entropy_gradient"] - scores["score"]["plain"]), scores["p_plain"]["entropy_gradient"]
        agrees = "no change here" if not p < 0.05 else "yes" if (here > 0) == (there > 0) else "no"
        lines.append({"vlm": vlm, "benchmark": benchmark, "paper": there, "here": here, "p": p, "agrees": agrees})
    return pd.DataFrame(lines, columns=["vlm", "benchmark", "paper", "here", "p", "agrees"])


def paper_table(setup: ExperimentConfig) -> pd.DataFrame:
    """Return the paper's scores in percent, a VLM and method a line, a benchmark a column; other models than the tiny ones."""
    lines = [
        {"VLM (paper)": vlm, "method": method, **scores}
        for vlm, methods in setup.experiment.paper.items()
        for method, scores in methods.items()
    ]
    return pd.DataFrame(lines)
