"""Small copies of the published data sets: their ids, configurations, splits and columns.

The rows come from the miniatures, with the columns of the cards (`SCHEMAS`) and no others. HR-Bench
and MME-RealWorld-Lite have questions and pictures of the miniature of V* in their columns. Boxes
are where the published ones are: in a table of their own (TextVQA) and in files beside pictures
(V*). Pictures are small; the second row of each data set is wider than high, so that every tiling
has a canvas of several tiles. One of V* is 4:3, which takes InternVL's largest budget of 13 tiles.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Image, Sequence, Value, disable_progress_bars
from PIL import Image as Pillow
from PIL import ImageOps

from entropy_grounding.benchmarks.miniature import MINIATURES
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.metrics.option_lines import option_lines

ROWS = 4
CANVAS = 192  # side of a picture in pixels
WIDE = {"vstar": CANVAS * 4 // 3}  # width of the second picture; others take twice the height
TEXTVQA_BOXES, VSTAR_BOXES = "jrzhang/TextVQA_GT_bbox", "craigwu/vstar_bench"

# By data set: configuration, schema, split and folder of its parquet files.
PUBLISHED = {
    "lmms-lab-encoder/textvqa": [("default", "textvqa", "validation", "data")],
    "lmms-lab-encoder/vstar-bench": [("default", "vstar", "test", "data")],
    "lmms-lab-encoder/DocVQA": [
        ("DocVQA", "docvqa", "validation", "DocVQA"),
        ("InfographicVQA", "infovqa", "validation", "InfographicVQA"),
    ],
    "lmms-lab-encoder/POPE": [("default", "pope", "test", "data")],
    "lmms-lab-encoder/GQA": [
        ("testdev_balanced_instructions", "gqa", "testdev", "testdev_balanced_instructions"),
        ("testdev_balanced_images", "gqa_images", "testdev", "testdev_balanced_images"),
    ],
    "lmms-lab-encoder/RealWorldQA": [("default", "realworldqa", "test", "data")],
    "DreamMr/HR-Bench": [
        ("hrbench_version_split", "hr_bench_4k", "hrbench_4k", ""),
        ("hrbench_version_split", "hr_bench_8k", "hrbench_8k", ""),
    ],
    "yifanzhang114/MME-RealWorld-lite-lmms-eval": [
        ("default", "mme_realworld_lite", "train", "data")
    ],
}


def write_datasets(target: Path) -> dict[str, Path]:
    """Write all data sets into a folder, and return their folders by their id on the hub."""
    disable_progress_bars()
    folders = {}
    for name, parts in PUBLISHED.items():
        folders[name] = target / name
        for _, schema, split, below in parts:
            # HR-Bench has its files beside the card, named as ours.
            file = f"{below}/{split}-00000-of-00001" if below else schema
            rows = LETTERED[schema]() if schema in LETTERED else _rows(schema)
            _write_parquet(folders[name] / f"{file}.parquet", rows, SCHEMAS[schema])
        _write_card(folders[name], parts)

    folders[TEXTVQA_BOXES] = _write_textvqa_boxes(target / TEXTVQA_BOXES)
    folders[VSTAR_BOXES] = _write_vstar_boxes(target / VSTAR_BOXES)
    return folders


def _rows(schema: str) -> list[dict[str, Any]]:
    """Return the first rows of a miniature, with encoded pictures and "evidence"."""
    kind, _, part = schema.partition("_")
    miniature = MINIATURES[kind]
    table = miniature.tables(miniature.draw("test", CANVAS))[part or "default"]
    return list(_encoded(islice(table, ROWS), kind))


def _hr_bench_rows() -> list[dict[str, Any]]:
    """Return a question in the four cyclic orders of its options, with base64 pictures."""
    rows = []
    for shift in range(4):
        row = _rows("vstar")[0]
        lines = option_lines(row["text"])
        texts = [*(line.text for line in lines), "none of them", "all of them"][:4]
        right = texts[ord(row["label"]) - ord("A")]
        shown = texts[shift:] + texts[:shift]
        rows.append(
            {
                "index": shift,
                "question": row["text"][: lines[0].line].strip(),
                "answer": "ABCD"[shown.index(right)],
                "category": "single",
                **dict(zip("ABCD", shown, strict=True)),
                "cycle_category": str(shift),
                "image": _base64(row),
            }
        )
    return rows


def _mme_rows() -> list[dict[str, Any]]:
    """Return questions with an option E, and base64 pictures."""
    rows = []
    for number, row in enumerate(_rows("vstar")):
        lines = option_lines(row["text"])
        texts = [*(line.text for line in lines), "The image does not feature it."]
        rows.append(
            {
                "index": number,
                "bytes": _base64(row),
                "question": row["text"][: lines[0].line].strip(),
                "multi-choice options": [
                    f"({letter}) {text}" for letter, text in zip("ABCDE", texts, strict=False)
                ],
                "answer": row["label"],
                "category": f"{('Perception', 'Reasoning')[number % 2]}/Monitoring",
                "l2-category": "color",
            }
        )
    return rows


LETTERED = {
    "hr_bench_4k": _hr_bench_rows,
    "hr_bench_8k": _hr_bench_rows,
    "mme_realworld_lite": _mme_rows,
}


def _base64(row: dict[str, Any]) -> str:
    return base64.b64encode(row["image"]["bytes"]).decode()


def _encoded(rows: Iterable[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    """Yield the rows with PNG files, every second picture wider than high."""
    for number, row in enumerate(rows):
        if "image" not in row:
            yield row
            continue

        picture = row["image"].convert("RGB")
        if number % 2:
            # Filled on the right, so that evidence boxes stay where they are.
            wide = (WIDE.get(kind, 2 * CANVAS), CANVAS)
            picture = ImageOps.pad(picture, wide, color="gray", centering=(0, 0))
        yield {**row, "image": {"bytes": _png(picture), "path": None}}


def _png(picture: Pillow.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _write_parquet(path: Path, rows: list[dict[str, Any]], columns: dict[str, Any]) -> None:
    """Write exactly these columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: [row[name] for row in rows] for name in columns}
    Dataset.from_dict(values, features=Features(columns)).to_parquet(path)


def _write_card(folder: Path, parts: list[tuple[str, str, str, str]]) -> None:
    """Write the README.md that names the files of each configuration."""
    lines, last = ["---", "configs:"], None
    for config, schema, split, below in parts:
        if config != last:
            lines += [f"- config_name: {config}", "  data_files:"]
        pattern = f"{below}/{split}-*" if below else f"{schema}.parquet"
        lines += [f"  - split: {split}", f"    path: {pattern}"]
        last = config
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def _write_textvqa_boxes(folder: Path) -> Path:
    """Write the table of boxes of TextVQA, which has a box for most questions."""
    columns = {
        "image": Image(),
        "question": Value("string"),
        "answer": Sequence(Value("string")),
        "dataset_id": Value("string"),
        "bbox": Sequence(Value("float64")),
    }
    rows = []
    for row in _rows("textvqa")[: ROWS - 1]:
        about = {"answer": row["answers"], "dataset_id": str(row["question_id"])}
        rows.append({**row, **about, "bbox": row["evidence"][0]})

    _write_parquet(folder / "data" / "train-00000-of-00001.parquet", rows, columns)
    _write_card(folder, [("default", "", "train", "data")])
    return folder


def _write_vstar_boxes(folder: Path) -> Path:
    """Write the folder of V*: a list of questions, and a JSON file beside each picture."""
    lines = []
    for number, row in enumerate(_rows("vstar")):
        name = f"{row['category']}/sa_{number}.jpg"
        beside = (folder / name).with_suffix(".json")
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps({"bbox": row["evidence"]}))

        kept = {key: row[key] for key in ("text", "category", "label", "question_id")}
        lines.append(json.dumps({"image": name, **kept}))

    (folder / "test_questions.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "README.md").write_text("V*\n")
    return folder
