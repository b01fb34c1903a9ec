"""Write ``options.json``: the options of every command, for its help and its checks.

``python -m entropy_grounding.commands.describe`` writes it again; a test compares it with the
dataclasses.
"""

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from entropy_grounding.app.question import GroundConfig
from entropy_grounding.core.paths import CONF_DIR
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.validation import CalibrateConfig
from entropy_grounding.experiments.config import ExperimentConfig
from entropy_grounding.harness.export import ExportConfig
from entropy_grounding.tiny.check import CheckConfig
from entropy_grounding.tiny.train import TrainConfig

FILE = Path(__file__).with_name("options.json")

_EVALUATION = ("vlm", "benchmark", "method")  # sections of `eg evaluate` that `eg rerun` takes too
_OPTIONS: dict[str, tuple[type, tuple[str, ...]]] = {
    "ground": (GroundConfig, ("vlm", "method", "tracking")),
    "evaluate": (EvaluateConfig, ("vlm", "benchmark", "method", "tracking")),
    "doctor": (EvaluateConfig, ("vlm", "benchmark", "method", "tracking")),
    "calibrate": (CalibrateConfig, ("vlm", "method")),
    "export": (ExportConfig, ("vlm", "benchmark")),
    "train": (TrainConfig, ("recipe", "tracking")),
    "check": (CheckConfig, ("vlm",)),
}
# `eg rerun` names VLMs, benchmarks and variants where the others have presets.
_RERUN = {
    "only_vlm": "vlm",
    "only_benchmark": "benchmark",
    "only_method": "method",
    "tracking_mode": "tracking",
}
# The file of conf/ that a command fills, where it has another name, and flags of its own.
_CONF = {"doctor": "evaluate"}
_FLAGS = {"doctor": ("--measure",), "rerun": ("--dry-run", "--no-doctor")}
_INTERNAL = ("expects",)  # sections that only presets fill

_ABOUT = {
    "ground": """Answer one question about one image: zoom into what the model is unsure of.

  eg ground image=photo.jpg question="What letter is on the red card?"

Prints the plain and the zoomed answer; writes grounding.png, grounding.json and the crops to
run_dir. Without image, a drawn scene is asked about (seed=N chooses which).""",
    "evaluate": """Evaluate one VLM on one benchmark with one method; one stored row per example.

  eg evaluate vlm=tiny_llava benchmark=mini_textvqa method=entropy_gradient
  eg evaluate -m vlm=tiny_llava,tiny_qwen2_5_vl benchmark=mini_vstar method=base,entropy_gradient

Run it again to go on where it stopped. Shards run side by side, and are joined by eg merge:

  eg evaluate shard=1/8      ...      eg evaluate shard=8/8
  eg merge outputs/results/evaluate/tiny_llava/mini_textvqa/entropy_gradient""",
    "doctor": """Say whether an evaluation can run here, before anything is loaded.

  eg doctor vlm=qwen2_5_vl_7b benchmark=vstar method=entropy_gradient [--measure]

Takes the options of eg evaluate. Looks at versions, device, weights, processor, memory of the
largest prompt, data, boxes, disk, results, W&B, and estimates the time; --measure loads the model
and answers three questions for it. Exit status 0: go. 2: no-go, with the remedy.""",
    "calibrate": """Choose the thresholds of the gate on validation rows.

The surest answers are then given without zooming.

  eg calibrate vlm=tiny_llava
  eg calibrate vlm=llava_1_5_7b benchmarks=[textvqa] split=train examples=500

Writes conf/calibration/VLM.yaml and results/measured/calibration/VLM. Then:

  eg evaluate vlm=tiny_llava benchmark=mini_gqa method=gated""",
    "export": """Write a benchmark as a task of lmms-eval: parquet, YAML and a dataset card.

  eg export benchmark=mini_textvqa vlm=tiny_llava out=tasks
  lmms-eval eval --model entropy_grounding --model_args vlm=tiny_llava,method=gated \
    --tasks mini_textvqa --include_path tasks --log_samples --output_path out

Prompts and scores are those of lmms-eval's own task (docs/harness.md). The pictures of a miniature
have the size that the VLM reads.""",
    "train": """Train a tiny VLM from scratch, in stages that checkpoint and resume.

  eg train                      tiny_llava
  eg train recipe=qwen2_5_vl    another family; those start from tiny_llava's weights

Two CPU cores (one trains, one draws): an hour or two each. A GPU: device=cuda, minutes.""",
    "check": """Check that a tiny VLM shows the paper's phenomenon, on held-out scenes.

  eg check vlm=tiny_llava workers=2

Prints the table of required figures; the rows behind it go to results_dir.""",
    "rerun": """Run an experiment again, from a laptop to a cluster.

  eg rerun experiment=table1 [run=mini] [vlm=A,B] [benchmark=A,B] [method=A,B] [--dry-run]

run=smoke takes minutes (tiny VLMs, few examples), run=mini hours (tiny VLMs, miniatures, CPU);
run=full takes the real checkpoints. --dry-run prints the jobs, what is missing, the time, what is
to fetch, and the memory. Every job is checked first, as eg doctor does; --no-doctor leaves it out.

Where jobs run is Hydra's launcher, one job for each VLM and benchmark:

  (nothing)                                          one after the other
  hydra/launcher=joblib hydra.launcher.n_jobs=2      two processes
  gpus=4                                             four processes, each with a GPU of its own
  hydra/launcher=local                               submitit's local executor, on the CPU
  hydra/launcher=slurm hydra.launcher.partition=gpu  SLURM, one GPU per job (docs/cluster.md)

Run the same command again to resume; with --dry-run, elsewhere, it says how far it is.""",
}


def describe() -> dict[str, Any]:
    """Return groups, flags and options of every command, in the order of its help."""
    commands = {
        name: _command(name, groups, list(_options(options, _values(_CONF.get(name, name)))))
        for name, (options, groups) in _OPTIONS.items()
    }
    own = list(_options(ExperimentConfig, _values("rerun")))
    shared = [
        option
        for option in commands["evaluate"]["options"]
        if option["name"].split(".")[0] in _EVALUATION
    ]
    renamed = [{**option, "name": _RERUN.get(option["name"], option["name"])} for option in own]
    kept = [option for option in renamed if not option["name"].startswith(("experiment.", "run."))]

    return commands | {"rerun": _command("rerun", ("experiment", "run"), [*kept, *shared])}


def _command(name: str, groups: tuple[str, ...], options: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "about": _ABOUT[name],
        "groups": list(groups),
        "flags": list(_FLAGS.get(name, ())),
        "options": options,
    }


def _values(name: str) -> dict[str, Any]:
    """Return the values of a configuration, with its interpolations as they are written."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return OmegaConf.to_container(compose(name), resolve=False)  # type: ignore[return-value]


def _options(options: type, values: Any, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Yield name, default and help of every option of a nested dataclass."""
    hints = typing.get_type_hints(options)
    helps = _helps(options)
    for field in dataclasses.fields(options):
        hint, value = (
            hints[field.name],
            values.get(field.name) if isinstance(values, dict) else None,
        )
        name = f"{prefix}{field.name}"
        if field.name in _INTERNAL:
            continue
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _options(hint, value, f"{name}.")
        else:
            yield {
                "name": name,
                "default": _shown(value),
                "help": helps.get(field.name, ""),
                "open": typing.get_origin(hint) in (dict, list, tuple),
            }


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, dict)):
        return "..." if len(str(value)) > 80 else str(value).replace("'", "")
    return str(value)


def _helps(options: type) -> dict[str, str]:
    """Return the sentences of a dataclass's docstring about its attributes."""
    text = inspect.getdoc(options) or ""
    _, _, attributes = text.partition("Attributes:\n")
    found = re.findall(
        r"^ {4}(\w+): (.*?)(?=^ {4}\w+: |\Z)", attributes + "\n", re.DOTALL | re.MULTILINE
    )

    return {name: " ".join(sentence.replace("``", "").split()) for name, sentence in found}


def main() -> None:
    """Write the file."""
    FILE.write_text(json.dumps(describe(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
