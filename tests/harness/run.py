"""Ask the tiny VLMs through lmms-eval, and compare with the stored rows of this repository.

``make harness``, or ``python tests/harness/run.py [NAME ...]``.

lmms-eval is installed by uv in ``outputs/environments/harness`` (5 minutes, 6 GB), and kept. Then,
by its own command line: `eg export` writes the miniatures as its tasks, ``--model
entropy_grounding`` answers them, and every answer and score is compared with the stored rows of
table 1, every row of the plugin too. The last lines are a table, which also goes to
``outputs/harness/harness.json``. The exit status is 1 if anything differs.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "environments"))
from build import OUT as ENVIRONMENTS
from build import ROOT, Environment, built

from entropy_grounding.evaluation.archive import load_rows
from entropy_grounding.evaluation.store import stored_rows
from entropy_grounding.metrics.answers import SCORERS

OUT = ROOT / "outputs" / "harness"
METHOD = "entropy_gradient"
# lmms-eval 0.7.3 pins wandb to 0.25.0, which needs an older protobuf.
HARNESS = Environment(
    "with lmms-eval", extras="test,harness", unpinned=("wandb", "protobuf", "filelock")
)
# By kind of benchmark: lmms-eval's name of its score, its unit, and our rule for a stored answer.
# None takes the stored score.
SCORES: Mapping[str, tuple[str, float, str | None]] = {
    "textvqa": ("exact_match", 1.0, None),
    "docvqa": ("anls", 1.0, None),
    "infovqa": ("anls", 1.0, None),
    "pope": ("pope_accuracy", 1.0, None),
    "gqa": ("exact_match", 1.0, "exact_match_without_punctuation"),
    "vstar": ("vstar_overall_acc", 100.0, "vstar_lmms_eval_letters"),
    "realworldqa": ("exact_match", 1.0, "realworldqa_lmms_eval_letters"),
}
# What must be equal in the plugin's rows and in the stored ones.
COLUMNS = ("prompt", "plain_answer", "answer", "crops", "rounds", "stop_reason", "forwards")


@dataclass(frozen=True)
class Case:
    """One run of lmms-eval.

    Attributes:
        vlm: which tiny VLM.
        kinds: which miniatures.
        examples: the first so many of each.
        processes: of torchrun; 1 for none.
    """

    vlm: str
    kinds: tuple[str, ...]
    examples: int
    processes: int = 1


CASES = {
    "full": Case("tiny_llava", ("textvqa", "docvqa", "infovqa", "pope"), 300),
    "letters": Case("tiny_llava", ("vstar", "realworldqa", "gqa"), 50),
    "llava_next": Case("tiny_llava_next", ("textvqa", "docvqa"), 50),
    "internvl": Case("tiny_internvl", ("infovqa", "pope"), 50),
    "qwen2_5_vl": Case("tiny_qwen2_5_vl", ("textvqa", "infovqa"), 50),
    "torchrun": Case("tiny_llava", ("textvqa", "pope"), 50, processes=2),
}


def main(names: list[str]) -> int:
    """Run the named cases, all by default; return the exit status."""
    if unknown := [name for name in names if name not in CASES]:
        print(f"Unknown case '{unknown[0]}': use {', '.join(CASES)}.", file=sys.stderr)
        return 2

    OUT.mkdir(parents=True, exist_ok=True)
    try:
        python = built(HARNESS, ENVIRONMENTS / "harness")
    except subprocess.CalledProcessError as error:
        print(f"lmms-eval cannot be installed: {error.stderr or error}", file=sys.stderr)
        return 1

    path = OUT / "harness.json"
    seen: dict[str, list[dict[str, Any]]] = json.loads(path.read_text()) if path.is_file() else {}
    for name in names or CASES:
        print(f"== {name}", flush=True)
        seen[name] = tried(name, python)
        path.write_text(json.dumps(seen, indent=1) + "\n")
    lines = [line for found in seen.values() for line in found]

    scorers = run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/harness"]) == 0
    print(table(lines), f"\nletter rules equal lmms-eval's: {'yes' if scorers else 'no'}")
    return 0 if scorers and all(line["ok"] for line in lines) else 1


def tried(name: str, python: Path) -> list[dict[str, Any]]:
    """Run a case, and return what was seen of each of its tasks."""
    case, folder = CASES[name], OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    tasks = [f"mini_{kind}" for kind in case.kinds]

    start = time.monotonic()
    for command in (exported(python, case, tasks, folder), asked(python, case, tasks, folder)):
        status = run(command)
        if status:
            return [{"case": name, "task": task, "ok": False, "status": status} for task in tasks]

    seconds = round(time.monotonic() - start)
    return [
        {"case": name, "seconds": seconds, **compared(case, kind, folder)} for kind in case.kinds
    ]


def exported(python: Path, case: Case, tasks: list[str], folder: Path) -> list[object]:
    """Return the command that writes miniatures as tasks, all in one process."""
    return [
        *(python, "-m", "entropy_grounding", "export", "-m", f"benchmark={','.join(tasks)}"),
        *(f"vlm={case.vlm}", f"out={folder / 'tasks'}"),
    ]


def asked(python: Path, case: Case, tasks: list[str], folder: Path) -> list[object]:
    """Return the command that asks the method, by lmms-eval's command line."""
    several = [] if case.processes == 1 else ["-m", "torch.distributed.run", "--nproc-per-node"]
    given = f"vlm={case.vlm},method={METHOD},results_dir={folder / 'rows'}"
    return [
        *(python, *several, *([case.processes] if several else []), "-m", "lmms_eval"),
        *("--model", "entropy_grounding", "--model_args", given),
        *("--tasks", ",".join(tasks), "--include_path", folder / "tasks"),
        *("--limit", case.examples, "--log_samples", "--output_path", folder / "out"),
    ]


def compared(case: Case, kind: str, folder: Path) -> dict[str, Any]:
    """Compare samples, scores and rows of a task with the stored rows."""
    task = f"mini_{kind}"
    place = Path(case.vlm, task, METHOD)
    stored, _ = load_rows(ROOT / "results" / "rows" / "table1" / place)
    stored = stored[stored["number"] < case.examples].set_index("number")
    made = stored_rows(folder / "rows" / place).set_index("number")

    answers = said(folder / "out", task)
    metric, unit, _ = SCORES[kind]
    theirs = scored(folder / "out", task, metric) / unit
    ours = our_score(stored, kind)

    equal = sum(answers.get(number) == answer for number, answer in stored["answer"].items())
    found = {
        "vlm": case.vlm,
        "task": task,
        "asked": len(stored),
        "answers_equal": equal,
        "rows_equal": equal_rows(made, stored),
        "lmms_eval": theirs,
        "ours": ours,
        "own_rule": float(stored["score"].mean()),
        "seconds_per_row": float(made["seconds"].mean()),
    }
    whole = equal == found["rows_equal"] == len(answers) == case.examples
    return {**found, "ok": whole and round(theirs, 4) == round(ours, 4)}


def our_score(stored: pd.DataFrame, kind: str) -> float:
    """Return the mean score of the stored answers under the rule that lmms-eval has."""
    rule = SCORES[kind][2]
    if rule is None:
        return float(stored["score"].mean())

    pairs = zip(stored["answer"], stored["references"], strict=True)
    return float(pd.Series([SCORERS[rule](answer, list(true)) for answer, true in pairs]).mean())


def equal_rows(made: pd.DataFrame, stored: pd.DataFrame) -> int:
    """Return how many rows of the plugin are those stored: prompt, both answers, crops, cost."""
    return sum(
        number in made.index
        and all(plain(made.loc[number, name]) == plain(row[name]) for name in COLUMNS)
        for number, row in stored.iterrows()
    )


def plain(value: Any) -> Any:
    """Return a value of a row as plain lists."""
    return [plain(each) for each in value] if hasattr(value, "tolist") and value.shape else value


def said(folder: Path, task: str) -> dict[int, str]:
    """Return the answers in lmms-eval's samples, by document."""
    (path,) = folder.rglob(f"*_samples_{task}.jsonl")
    samples = map(json.loads, path.read_text().splitlines())

    return {sample["doc_id"]: sample["filtered_resps"] for sample in samples}


def scored(folder: Path, task: str, metric: str) -> float:
    """Return lmms-eval's score of a task."""
    (path,) = folder.rglob("*_results.json")

    return float(json.loads(path.read_text())["results"][task][f"{metric},none"])


def table(seen: list[dict[str, Any]]) -> str:
    """Return what was seen as a Markdown table, one line per task."""
    lines = [
        "| run | VLM | task | answers equal | rows equal | lmms-eval | stored, same rule "
        "| stored, own rule | ok |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in seen:
        if "asked" not in line:
            lines.append(f"| {line['case']} | | {line['task']} | did not run | | | | | no |")
            continue
        scores = (f"{line[name]:.4f}" for name in ("lmms_eval", "ours", "own_rule"))
        counts = (f"{line[name]}/{line['asked']}" for name in ("answers_equal", "rows_equal"))
        cells = [line["case"], line["vlm"], line["task"], *counts, *scores]
        lines.append("| " + " | ".join(cells) + f" | {'yes' if line['ok'] else 'no'} |")

    return "\n".join(lines)


def run(command: list[object]) -> int:
    """Run a command, one thread, without the network and the checkout's source on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {
        **clean,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(OUT / "hf_home"),
    }

    return subprocess.run([str(each) for each in command], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
