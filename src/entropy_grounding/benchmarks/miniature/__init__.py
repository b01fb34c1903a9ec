"""Seven generated benchmarks, each in the schema, with the prompt and under the metric of the one that it stands for.

They need no download and no GPU, and their evidence boxes are exact. Their figures are about tiny VLMs only.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from datasets import Features, IterableDataset, Sequence, Value
from PIL import Image

from entropy_grounding.benchmarks.miniature.base import SPLITS, Miniature
from entropy_grounding.benchmarks.miniature.needs_no_zoom import MiniGQA, MiniRealWorldQA
from entropy_grounding.benchmarks.miniature.needs_zoom import (
    MiniDocVQA,
    MiniInfoVQA,
    MiniPOPE,
    MiniTextVQA,
    MiniVStar,
)
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.errors import InputError

MINIATURES: dict[str, Miniature] = {
    each.kind: each
    for each in (
        MiniTextVQA(),
        MiniVStar(),
        MiniDocVQA(),
        MiniPOPE(),
        MiniInfoVQA(),
        MiniGQA(),
        MiniRealWorldQA(),
    )
}


def miniature_rows(kind: str, name: str | None, split: str, canvas: int) -> IterableDataset:
    """Return the rows of a miniature, drawn as they are read, with the columns of the published data set and one of evidence boxes.

    Args:
        kind: which one, a key of `MINIATURES`.
        name: configuration; "images" for the pictures of GQA, which are kept apart.
        split: "test" or "validation".
        canvas: pixels, side of the pictures.

    Raises:
        InputError: for an unknown miniature, split or configuration.
    """
    if kind not in MINIATURES:
        raise InputError(f"Unknown miniature '{kind}': use one of {', '.join(MINIATURES)}.")
    if split not in SPLITS:
        raise InputError(
            f"The miniature '{kind}' has no split '{split}': use {' or '.join(SPLITS)}."
        )
    schema = f"{kind}_{name}" if name else kind
    if schema not in SCHEMAS:
        raise InputError(f"The miniature '{kind}' has no configuration '{name}'.")
    boxes = {} if name else {"evidence": Sequence(Sequence(Value("float32")))}
    features = Features({**SCHEMAS[schema], **boxes})
    return IterableDataset.from_generator(
        _rows,
        features=features,
        gen_kwargs={"kind": kind, "name": name, "split": split, "canvas": canvas},
    )


def _rows(kind: str, name: str | None, split: str, canvas: int) -> Iterator[dict[str, Any]]:
    miniature = MINIATURES[kind]
    for row in miniature.tables(miniature.draw(split, canvas))[name or "default"]:
        yield {**row, "image": _png(row["image"])} if "image" in row else row


def _png(image: Image.Image) -> dict[str, bytes | None]:
    """Return a picture as `datasets` stores it, less compressed than it would be there: four times as fast."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}
