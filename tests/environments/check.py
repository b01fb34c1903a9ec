"""Answer stored questions again in this environment: `python check.py RESULTS REPORT.json`.

Uses the installed package alone. For each tiny VLM it evaluates the first questions of two
miniatures and counts the rows whose answers and crops equal the stored ones.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import entropy_grounding as eg
from entropy_grounding.core.config import compose_config
from entropy_grounding.core.environment import environment_of
from entropy_grounding.evaluation.config import EvaluateConfig
from entropy_grounding.evaluation.run import evaluate
from entropy_grounding.tracking import TrackingConfig

VLMS = ("tiny_llava", "tiny_llava_next", "tiny_internvl", "tiny_qwen2_5_vl")
BENCHMARKS = ("mini_docvqa", "mini_vstar")
EXAMPLES = 60  # of each: a changed picture showed in 2 of 60 answers
COMPARED = ("plain_answer", "answer", "rounds", "stop_reason")


def main(results: Path, report: Path) -> int:
    """Check every VLM, write the report, and return 0 where all rows are equal."""
    seen: dict = {"families": {}}

    for name in VLMS:
        try:
            vlm = eg.load_vlm(name)
            seen["versions"] = environment_of(vlm)
            seen["families"][name] = answered_again(vlm, results)
        except Exception as error:  # this environment's fault is what is looked for
            seen["families"][name] = {"equal": 0, "asked": 0, "seconds": 0, "why": repr(error)}
        print(name, seen["families"][name], flush=True)

    report.write_text(json.dumps(seen, indent=1))
    return 0 if all(0 < each["equal"] == each["asked"] for each in seen["families"].values()) else 1


def answered_again(vlm: eg.VLM, results: Path) -> dict:
    """Evaluate the first questions of both miniatures and compare them with the stored rows."""
    start = time.monotonic()
    equal = asked = 0

    for benchmark in BENCHMARKS:
        stored, _ = eg.load_rows(
            results / "rows" / "table1" / vlm.name / benchmark / "entropy_gradient"
        )
        with tempfile.TemporaryDirectory() as folder:
            rows = evaluate(configuration(vlm.name, benchmark, folder), vlm)
        asked += len(rows)
        equal += sum(
            is_equal(*pair) for pair in zip(records(rows), records(stored)[:EXAMPLES], strict=True)
        )

    return {"equal": equal, "asked": asked, "seconds": time.monotonic() - start}


def configuration(vlm: str, benchmark: str, folder: str) -> EvaluateConfig:
    """Return an evaluation of the paper's preset whose rows go to a folder that is thrown away."""
    composed = compose_config(
        [
            f"vlm={vlm}",
            f"benchmark={benchmark}",
            f"benchmark.examples={EXAMPLES}",
            "method_name=check",
        ],
        "evaluate",
        EvaluateConfig,
    )

    return replace(composed, results_dir=folder, tracking=TrackingConfig(mode="disabled"))


def records(rows: object) -> list[dict]:
    """Return rows as dictionaries, in the order of the data."""
    return rows.sort_values("number").to_dict("records")  # type: ignore[attr-defined]


def is_equal(row: dict, stored: dict) -> bool:
    """Tell whether answers and boxes are the same, boxes to the hundredth of a pixel."""
    crops, before = (
        [[round(float(x), 2) for x in box] for box in each["crops"]] for each in (row, stored)
    )

    return crops == before and all(row[name] == stored[name] for name in COMPARED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
