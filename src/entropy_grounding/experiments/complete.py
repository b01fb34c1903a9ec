"""Run what an experiment still lacks."""

from collections.abc import Sequence
from pathlib import Path

from entropy_grounding.evaluation.archive import stored_folder, stored_index
from entropy_grounding.evaluation.config import EvaluateConfig, results_folder
from entropy_grounding.evaluation.run import check_answered, evaluate, evaluate_together
from entropy_grounding.experiments.config import ExperimentConfig, evaluations
from entropy_grounding.vlm.config import VLMConfig
from entropy_grounding.vlm.load import load_vlm
from entropy_grounding.vlm.model import VLM


def complete(
    setup: ExperimentConfig, *, roots: Sequence[str | Path] = ()
) -> dict[tuple[str, str, str], Path]:
    """Run the evaluations that are not stored yet, and return the folders of all.

    Args:
        setup: the experiment.
        roots: more folders than ``setup.results_dir`` in which stored rows are looked for.

    Returns:
        The folder of the rows, by the names of VLM, benchmark and variant.

    Raises:
        InputError: for what cannot be evaluated, and for an evaluation without a single score; the
            rows of the others are kept.
    """
    index = stored_index(setup.results_dir, *roots)
    folders: dict[tuple[str, str, str], Path] = {}
    missing: dict[tuple[VLMConfig, str], list[EvaluateConfig]] = {}

    for variant, config in evaluations(setup):
        pair = config.vlm.name, config.benchmark.name
        folder = stored_folder(config, index)
        folders[(*pair, variant.name)] = folder or results_folder(config)
        if folder is None:
            missing.setdefault((config.vlm, config.benchmark.name), []).append(config)

    # They are ordered by VLM, and only one is kept. A variant may change how a VLM is loaded.
    loaded: dict[VLMConfig, VLM] = {}
    for (vlm, _), configs in missing.items():
        loaded = loaded if vlm in loaded else {vlm: load_vlm(vlm)}

        if setup.experiment.share:
            tables = evaluate_together(configs, loaded[vlm])
        else:
            tables = [evaluate(config, loaded[vlm]) for config in configs]
        for rows, config in zip(tables, configs, strict=True):
            check_answered(rows, config)

    return folders
