"""Evidence boxes of public data that keep them apart from the questions.

These are TextVQA, V*, POPE (COCO) and GQA (scene graphs).
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import snapshot_download

from entropy_grounding.benchmarks.columns import box_of
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.sources import of_boxes, open_rows
from entropy_grounding.core.errors import InputError, machine_remedy
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.identity import hub_commit

# A function from a row and its id to the evidence boxes, in pixels of the row's image.
Evidence = Callable[[Mapping[str, Any], str], tuple[Box, ...]]
VSTAR = "craigwu/vstar_bench"  # on the hub: a folder of JSON files beside its pictures
VSTAR_QUESTIONS = "test_questions.jsonl"
_OBJECT = re.compile(r"Is there an? (.+?) in the image", re.IGNORECASE)


def read_evidence(config: BenchmarkConfig) -> Evidence:
    """Return a function from a row and its id to its evidence boxes, in pixels of its image.

    The function returns no box for a row that the file does not have. ``config.boxes`` is one of:

    - a table with ``dataset_id`` and ``bbox``, the layout of TextVQA-GT-bbox (any benchmark);
    - the folder of craigwu/vstar_bench (V*);
    - ``instances_val2014.json`` of COCO (POPE);
    - ``val_sceneGraphs.json`` (GQA; its test-dev split has no scene graphs).

    Tables and the folder of V* may be hub ids.

    Raises:
        InputError: when the file cannot be read or has another layout.
    """
    path = vstar_folder() if config.boxes == VSTAR else Path(str(config.boxes)).expanduser()
    readers = {"vstar": _vstar, "pope": _coco, "gqa": _scene_graphs}

    # Anything else is read as a table, which works for every benchmark.
    structured = path.suffix == ".json" or (path / VSTAR_QUESTIONS).is_file()
    if not structured or config.kind not in readers:
        return _table(config)

    try:
        return readers[config.kind](path)
    except Exception as error:  # of the file system, of JSON, of values of other types
        raise InputError(
            f"benchmark.boxes '{path}' cannot be read as boxes of {config.kind} ({error!r}): "
            "check the file."
        ) from error


def vstar_folder() -> Path:
    """Return the folder of V*'s questions and boxes from the hub, without its pictures.

    Raises:
        InputError: when the hub cannot be reached and nothing was fetched before.
    """
    try:
        commit = hub_commit(VSTAR, None, kind="dataset")  # the one that identifies the rows
        wanted = [VSTAR_QUESTIONS, "**/*.json"]
        found = snapshot_download(
            VSTAR, repo_type="dataset", revision=commit, allow_patterns=wanted
        )
        return Path(found)
    except Exception as error:  # offline, moved, gated
        reason = " ".join(str(error).split())[:200]
        advice = machine_remedy(error) or (
            f"fetch them ahead with 'hf download --repo-type dataset {VSTAR} --local-dir "
            "data/vstar_bench' and pass benchmark.boxes=data/vstar_bench"
        )
        raise InputError(
            f"The evidence boxes '{VSTAR}' cannot be fetched ({reason}): {advice}, or do without "
            "localisation: benchmark.boxes=null."
        ) from error


def _table(config: BenchmarkConfig) -> Evidence:
    """Read boxes from a table that has the ids of the questions.

    Raises:
        InputError: when the table cannot be opened, or a value is no box.
    """
    boxes: dict[str, list[Box]] = {}  # by question id
    try:
        for row in open_rows(str(config.boxes), of_boxes(config), ("dataset_id", "bbox")):
            boxes.setdefault(str(row["dataset_id"]), []).append(box_of(row["bbox"]))
    except InputError as error:
        raise InputError(
            f"benchmark.boxes: {error} Or do without localisation: benchmark.boxes=null."
        ) from error

    return lambda row, identity: tuple(boxes.get(identity, ()))


def _vstar(folder: Path) -> Evidence:
    """Read the targets of V*: the JSON file beside each image, under the question's id."""
    targets = {}

    for line in (folder / VSTAR_QUESTIONS).read_text().splitlines():
        question = json.loads(line)
        beside = (folder / question["image"]).with_suffix(".json")
        boxes = json.loads(beside.read_text())["bbox"] if beside.is_file() else []

        # The same id as `VStar.identify` gives to the row.
        identity = f"{question['category']}/{question['question_id']}"
        targets[identity] = tuple(box_of(xywh) for xywh in boxes)

    return lambda row, identity: targets.get(identity, ())


def _coco(path: Path) -> Evidence:
    """Read boxes of COCO objects. A "yes" question of POPE gets the boxes of its object."""
    stored = json.loads(path.read_text())
    images = {image["id"]: PurePath(image["file_name"]).stem for image in stored["images"]}
    names = {category["id"]: category["name"] for category in stored["categories"]}

    boxes: dict[tuple[str, str], list[Box]] = {}  # by image name and object name
    for annotation in stored["annotations"]:
        # The box of a crowd is around many objects at once, so it is no evidence for one.
        if not annotation.get("iscrowd"):
            key = (images[annotation["image_id"]], names[annotation["category_id"]])
            boxes.setdefault(key, []).append(box_of(annotation["bbox"]))

    def evidence(row: Mapping[str, Any], identity: str) -> tuple[Box, ...]:
        asked = _OBJECT.search(str(row["question"]))
        yes = asked and str(row["answer"]).strip().lower() == "yes"
        if not (asked and yes):
            return ()

        image = PurePath(str(row["image_source"])).stem
        return tuple(boxes.get((image, asked[1]), ()))

    return evidence


def _scene_graphs(path: Path) -> Evidence:
    """Read boxes of the objects that the annotations of a GQA question or answer point to."""
    graphs = json.loads(path.read_text())

    def evidence(row: Mapping[str, Any], identity: str) -> tuple[Box, ...]:
        objects = graphs.get(str(row["imageId"]), {}).get("objects", {})
        annotations = row.get("annotations") or {}

        # A dictionary keeps the first mention of each object, in order.
        mentioned: dict[str, None] = {}
        for name in ("question", "answer", "fullAnswer"):
            mentioned.update(dict.fromkeys(_values(annotations.get(name))))

        stored = [objects[key] for key in mentioned if key in objects]
        return tuple(box_of([item["x"], item["y"], item["w"], item["h"]]) for item in stored)

    return evidence


def _values(part: Any) -> list[str]:
    """Return the object ids of an annotation.

    An annotation maps tokens to ids, or is a list of {"objectId", "value"}, as in the hub's copy.
    """
    if isinstance(part, Mapping):
        return [str(value) for value in part.values() if value]
    return [str(item["objectId"]) for item in part or () if item.get("objectId")]
