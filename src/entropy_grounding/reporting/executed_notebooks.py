"""Executed notebooks for visitors: ``python -m entropy_grounding.executed [NAME ...]`` runs them from the stored rows.

Copies go to ``results/executed``, each under 500 KB (pictures are re-encoded), figures to ``figures``. Run it in the repository's folder.
Without names: all notebooks whose rows are complete.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import nbformat
from PIL import Image

from entropy_grounding.core.errors import InputError

LIMIT = 500_000  # bytes of a notebook

_QUALITIES = (
    (1.0, 85),
    (1.0, 70),
    (0.8, 70),
    (0.6, 60),
    (0.45, 55),
)  # scale and JPEG quality, tried until a notebook is small enough
_NOISE = ("papermill", "widgets")  # metadata that changes from run to run


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Remove what changes from run to run: times, widgets, progress bars and warnings of the kernel."""
    for node in (notebook, *notebook.cells):
        for key in _NOISE:
            node.metadata.pop(key, None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = [
                output
                for output in cell.outputs
                if output.get("name") != "stderr" and not _is_widget(output)
            ]


def _is_widget(output: Any) -> bool:
    return any("widget" in kind for kind in output.get("data", {}))


def shrink(notebook: nbformat.NotebookNode, limit: int = LIMIT) -> None:
    """Re-encode the pictures until the notebook has fewer than ``limit`` bytes.

    Raises:
        InputError: when the smallest pictures are still too large.
    """
    originals = [(data, data["image/png"]) for data in _pictures(notebook)]
    for scale, quality in _QUALITIES:
        if len(nbformat.writes(notebook).encode()) < limit:
            return
        for data, encoded in originals:
            kind, content = encode(
                Image.open(io.BytesIO(base64.b64decode(encoded))), scale, quality
            )
            data.pop("image/png", None)
            data.pop("image/jpeg", None)
            data[kind] = base64.b64encode(content).decode()
    if len(nbformat.writes(notebook).encode()) >= limit:
        raise InputError(
            f"The executed notebook has more than {limit:,} bytes: show fewer pictures in it."
        )


def _pictures(notebook: nbformat.NotebookNode) -> Iterator[Any]:
    for cell in notebook.cells:
        yield from (
            output["data"]
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        )


def encode(picture: Image.Image, scale: float, quality: int) -> tuple[str, bytes]:
    """Return the smaller of a palette PNG and a JPEG of a picture, with its type."""
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    opaque = Image.new("RGB", picture.size, "white")
    opaque.paste(picture, mask=picture.getchannel("A") if "A" in picture.getbands() else None)
    opaque = opaque.resize(size, Image.Resampling.LANCZOS)
    found: list[tuple[str, bytes]] = []
    encodings: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("image/png", opaque.quantize(128), {"format": "PNG", "optimize": True}),
        ("image/jpeg", opaque, {"format": "JPEG", "quality": quality, "optimize": True}),
    )
    for kind, image, options in encodings:
        buffer = io.BytesIO()
        image.save(buffer, **options)
        found.append((kind, buffer.getvalue()))
    return min(found, key=lambda each: len(each[1]))
