"""Rows of every benchmark as the hub publishes them, in small parquet files."""

import numpy as np
from datasets import Dataset, Features
from PIL import Image as Pillow

from entropy_grounding.benchmarks.base import LETTER
from entropy_grounding.benchmarks.config import BenchmarkConfig
from entropy_grounding.benchmarks.load import load_benchmark
from entropy_grounding.benchmarks.schemas import SCHEMAS

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
}


def picture(width=40, height=30):
    return Pillow.fromarray(
        np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    )


def parquet(folder, kind, *changes, name="rows.parquet"):
    features = Features(SCHEMAS[kind])
    rows = [
        {**dict.fromkeys(features), "image": picture(), **DEFAULTS[kind], **change}
        for change in changes or ({},)
    ]
    path = folder / name
    Dataset.from_list(rows, features=features).to_parquet(path)
    return str(path)


def load(path, kind, **options):
    return load_benchmark(BenchmarkConfig(name=kind, kind=kind, path=path, **options))
