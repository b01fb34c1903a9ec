"""Evidence boxes that public data keeps apart from the questions: TextVQA, V*, POPE (COCO), GQA (scene graphs)."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import snapshot_download

from entropy_grounding.benchmarks.columns import box_of
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.sources import of_boxes, open_rows
from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box

Evidence = Callable[[Mapping[str, Any], str], tuple[Box, ...]]  # from a row and its id
VSTAR = "craigwu/vstar_bench"  # on the hub: a folder of JSON files beside its pictures
_OBJECT = re.compile(r"Is there an? (.+?) in the image", re.IGNORECASE)


def read_evidence(config: BenchmarkConfig) -> Evidence:
    """Return a function from a row and its id to its evidence boxes, in pixels of its image; no box where the file has none.

    ``config.boxes`` is a table with ``dataset_id`` and ``bbox`` (any benchmark; the layout of TextVQA-GT-bbox), the folder of
    craigwu/vstar_bench (V*), ``instances_val2014.json`` of COCO (POPE), or ``val_sceneGraphs.json`` (GQA; its test-dev split has none).
    Tables and the folder of V* may be hub ids.

    Raises:
        InputError: when it cannot be read or has another layout.
    """
    path = _vstar_folder() if config.boxes == VSTAR else Path(str(config.boxes)).expanduser()
    readers = {"vstar": _vstar, "pope": _coco, "gqa": _scene_graphs}
    structured = path.suffix == ".json" or (path / "test_questions.jsonl").is_file()
    if not structured or config.kind not in readers:
        return _table(config)

    try:
        return readers[config.kind](path)
    except Exception as error:  # of the file system, of JSON, of values of other types
        raise InputError(
            f"benchmark.boxes '{path}' cannot be read as boxes of {config.kind} ({error!r}): check the file."
        ) from error


def _vstar_folder() -> Path:
    """Return the folder of V*'s questions and boxes from the hub, without its pictures.

    Raises:
        InputError: when the hub cannot be reached and nothing was fetched before.
    """
    try:
        return Path(
            snapshot_download(
                VSTAR, repo_type="dataset", allow_patterns=["test_questions.jsonl", "**/*.json"]
            )
        )
    except Exception as error:  # offline, moved, gated
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"The evidence boxes '{VSTAR}' cannot be fetched ({reason}): fetch them ahead with 'hf download --repo-type dataset {VSTAR} "
            "--local-dir data/vstar_bench' and pass benchmark.boxes=data/vstar_bench, or do without localisation: benchmark.boxes=null."
        ) from error


def _table(config: BenchmarkConfig) -> Evidence:
    """Boxes of a table with the ids of the questions.

    Raises:
        InputError: when it cannot be opened, or a box is none.
    """
    found: dict[str, list[Box]] = {}
    try:
        for row in open_rows(str(config.boxes), of_boxes(config), ("dataset_id", "bbox")):
            found.setdefault(str(row["dataset_id"]), []).append(box_of(row["bbox"]))
    except InputError as error:
        raise InputError(
            f"benchmark.boxes: {error} Or do without localisation: benchmark.boxes=null."
        ) from error

    return lambda row, identity: tuple(found.get(identity, ()))


def _vstar(folder: Path) -> Evidence:
    """Targets of every question: the JSON beside each image, found by the question's id."""
    found = {}
    for line in (folder / "test_questions.jsonl").read_text().splitlines():
        question = json.loads(line)
        beside = (folder / question["image"]).with_suffix(".json")
        boxes = json.loads(beside.read_text())["bbox"] if beside.is_file() else []
        found[f"{question['category']}/{question['question_id']}"] = tuple(
            box_of(box) for box in boxes
        )
    return lambda row, identity: found.get(identity, ())


def _coco(path: Path) -> Evidence:
    """Boxes of the object that a "yes" question of POPE names."""
    stored = json.loads(path.read_text())
    images = {image["id"]: PurePath(image["file_name"]).stem for image in stored["images"]}
    names = {category["id"]: category["name"] for category in stored["categories"]}
    found: dict[tuple[str, str], list[Box]] = {}
    for each in stored["annotations"]:
        if not each.get("iscrowd"):
            found.setdefault((images[each["image_id"]], names[each["category_id"]]), []).append(
                box_of(each["bbox"])
            )

    def evidence(row: Mapping[str, Any], identity: str) -> tuple[Box, ...]:
        asked = _OBJECT.search(str(row["question"]))
        yes = asked and str(row["answer"]).strip().lower() == "yes"
        return (
            tuple(found.get((PurePath(str(row["image_source"])).stem, asked[1]), ()))
            if asked and yes
            else ()
        )

    return evidence


def _scene_graphs(path: Path) -> Evidence:
    """Boxes of the objects that the annotations of a GQA question or answer point to."""
    graphs = json.loads(path.read_text())

    def evidence(row: Mapping[str, Any], identity: str) -> tuple[Box, ...]:
        objects = graphs.get(str(row["imageId"]), {}).get("objects", {})
        annotations = row.get("annotations") or {}
        parts = (annotations.get(name) for name in ("question", "answer", "fullAnswer"))
        pointed = dict.fromkeys(value for part in parts for value in _values(part))
        return tuple(
            box_of([objects[key][name] for name in ("x", "y", "w", "h")])
            for key in pointed
            if key in objects
        )

    return evidence


def _values(part: Any) -> list[str]:
    """Return the object ids of an annotation: a mapping from tokens to ids, or a list of {"objectId", "value"} as the hub's copy has it."""
    if isinstance(part, Mapping):
        return [str(value) for value in part.values() if value]
    return [str(each["objectId"]) for each in part or () if each.get("objectId")]
