"""Seven generated benchmarks, the miniatures, and further ones.

Each of the seven stands for a published benchmark and has its schema, prompt and metric. Miniatures
need no download and no GPU, and their evidence boxes are exact. Their scores are about tiny VLMs
only.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from datasets import Features, IterableDataset, Sequence, Value
from PIL import Image

from entropy_grounding.benchmarks.miniature.base import SPLITS, Miniature
from entropy_grounding.benchmarks.miniature.high_resolution import (
    MiniFineResolution,
    MiniHighResolution,
)
from entropy_grounding.benchmarks.miniature.needs_no_zoom import MiniGQA, MiniRealWorldQA
from entropy_grounding.benchmarks.miniature.needs_zoom import (
    MiniDocVQA,
    MiniInfoVQA,
    MiniPOPE,
    MiniTextVQA,
    MiniVStar,
)
from entropy_grounding.benchmarks.miniature.photographs import (
    GQAComposite,
    POPEComposite,
    RealWorldQAComposite,
    TextVQAComposite,
    VStarComposite,
)
from entropy_grounding.benchmarks.schemas import SCHEMAS
from entropy_grounding.core.checks import check_choice
from entropy_grounding.core.errors import InputError

MINIATURES: dict[str, Miniature] = {
    miniature.kind: miniature
    for miniature in (
        MiniTextVQA(),
        MiniVStar(),
        MiniDocVQA(),
        MiniPOPE(),
        MiniInfoVQA(),
        MiniGQA(),
        MiniRealWorldQA(),
    )
}

# Miniatures that stand for no benchmark of the paper. No table of the seven holds them.
FURTHER: dict[str, Miniature] = {
    miniature.kind: miniature
    for miniature in (
        MiniHighResolution(),
        MiniFineResolution(),
        TextVQAComposite(),
        VStarComposite(),
        POPEComposite(),
        GQAComposite(),
        RealWorldQAComposite(),
    )
}
_ALL = MINIATURES | FURTHER


def miniature_rows(kind: str, name: str | None, split: str, canvas: int) -> IterableDataset:
    """Return the rows of a miniature. They are drawn while they are read.

    The columns are those of the published data set, and "evidence" with boxes x, y, width, height
    in pixels.

    Args:
        kind: the miniature, a key of `MINIATURES` or `FURTHER`.
        name: configuration: "images" for the pictures of GQA, which are apart from its questions,
            else None.
        split: "test" or "validation".
        canvas: side of the pictures in pixels.

    Raises:
        InputError: for an unknown miniature, split or configuration, and for too small a canvas.
    """
    check_choice("miniature", kind, _ALL)
    if split not in SPLITS:
        raise InputError(
            f"The miniature '{kind}' has no split '{split}': use {' or '.join(SPLITS)}."
        )

    least = _ALL[kind].least_canvas
    if canvas < least:
        raise InputError(
            f"benchmark.canvas is {canvas}: the miniature '{kind}' needs at least {least} pixels."
        )

    columns = _ALL[kind].schema or kind
    schema = f"{columns}_{name}" if name else columns
    if schema not in SCHEMAS:
        raise InputError(f"The miniature '{kind}' has no configuration '{name}'.")

    # Pictures that are apart from the questions have no evidence of their own.
    boxes = {} if name else {"evidence": Sequence(Sequence(Value("float32")))}
    features = Features({**SCHEMAS[schema], **boxes})
    return IterableDataset.from_generator(
        _rows,
        features=features,
        gen_kwargs={"kind": kind, "name": name, "split": split, "canvas": canvas},
    )


def _rows(kind: str, name: str | None, split: str, canvas: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one configuration, with encoded pictures."""
    miniature = _ALL[kind]
    for row in miniature.tables(miniature.draw(split, canvas))[name or "default"]:
        yield {**row, "image": _png(row["image"])} if "image" in row else row


def _png(image: Image.Image) -> dict[str, bytes | None]:
    """Return a picture in the form in which `datasets` stores it.

    It is compressed less than `datasets` would do, which is four times as fast.
    """
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}
