"""Rows of every benchmark as the hub publishes them, in small parquet files."""

import base64
from io import BytesIO

import numpy as np
from datasets import Dataset, Features
from PIL import Image as Pillow

from entropy_grounding.benchmarks.base import LETTER
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.load import load_benchmark
from entropy_grounding.benchmarks.schemas import SCHEMAS


def picture(width=40, height=30):
    return Pillow.fromarray(
        np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    )


def base64_of(image):
    """Return a picture as the text in which some data sets keep it."""
    buffer = BytesIO()
    image.save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


BASE64 = base64_of(picture())
HR_BENCH = {
    "index": 8,
    "question": "What is the number on the jersey?",
    "A": "7",
    "B": "12",
    "C": "21",
    "D": "None of them",
    "answer": "B",
    "category": "single",
    "cycle_category": "0",
    "image": BASE64,
}
DEFAULTS = {
    "textvqa": {
        "question_id": 7,
        "question": "What does the NASA sign say?",
        "answers": ["go"] * 10,
        "ocr_tokens": ["GO", "slow"],
    },
    "vstar": {
        "question_id": "0",
        "category": "direct_attributes",
        "label": "B",
        "text": f"What is the color of the glove?\n(A) red\n(B) blue\n(C) green\n{LETTER}",
    },
    "docvqa": {"questionId": "11", "question": "What is the date?", "answers": ["1 May", "May 1"]},
    "infovqa": {"questionId": "12", "question": "How many?", "answers": ["5"]},
    "pope": {
        "question_id": "1",
        "question": "Is there a dog in the image?",
        "answer": "no",
        "category": "random",
    },
    "realworldqa": {
        "question": "Which way?\n\nA. left\nB. right\n"
        "Please answer directly with only the letter of the correct option and nothing else.",
        "answer": "A",
    },
    "hr_bench_4k": HR_BENCH,
    "hr_bench_8k": HR_BENCH,
    "mme_realworld_lite": {
        "index": 17,
        "bytes": BASE64,
        "question": "What is the color of the boat?",
        "multi-choice options": [
            "(A) red",
            "(B) blue",
            "(C) green",
            "(D) white",
            "(E) The image does not feature the color.",
        ],
        "answer": "D",
        "category": "Perception/Remote Sensing",
        "l2-category": "color",
    },
}


def parquet(folder, kind, *changes, name="rows.parquet"):
    features = Features(SCHEMAS[kind])
    rows = [
        {**dict.fromkeys(features), "image": picture(), **DEFAULTS[kind], **change}
        for change in changes or ({},)
    ]
    rows = [{name: row[name] for name in features} for row in rows]
    path = folder / name
    Dataset.from_list(rows, features=features).to_parquet(path)
    return str(path)


def load(path, kind, **options):
    return load_benchmark(BenchmarkConfig(name=kind, kind=kind, path=path, **options))
