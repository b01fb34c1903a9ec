"""Executed notebooks for visitors: ``eg executed [NAME ...]`` runs them from the stored rows.

The copies go to ``results/notebooks`` and the figures to ``figures``. A copy has less than 500 KB,
since its pictures are encoded again. Run the command in the repository's folder. Without names, it
runs all notebooks whose rows are complete.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import nbformat
from PIL import Image

from entropy_grounding.core.errors import InputError

LIMIT = 500_000  # bytes of a notebook

# Scale and JPEG quality of the pictures, tried in this order until a notebook is small enough.
_QUALITIES = ((1.0, 85), (1.0, 70), (0.8, 70), (0.6, 60), (0.45, 55))
_NOISE = ("papermill", "widgets")  # metadata that changes from run to run


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Remove everything that differs between two runs of the same notebook, in place.

    That is: times, widgets, progress bars and warnings of the kernel.
    """
    for node in (notebook, *notebook.cells):
        for key in _NOISE:
            node.metadata.pop(key, None)

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = [output for output in cell.outputs if not _is_noise(output)]


def relink(notebook: nbformat.NotebookNode) -> None:
    """Lead links of the text, which are relative to ``notebooks``, out of a deeper folder."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")


def _is_noise(output: Any) -> bool:
    """Tell whether an output is a widget, or text on the error stream (progress and warnings)."""
    if output.get("name") == "stderr":
        return True

    return any("widget" in kind for kind in output.get("data", {}))


def shrink(notebook: nbformat.NotebookNode, limit: int = LIMIT) -> None:
    """Encode the pictures of a notebook again, in place, until it has fewer than ``limit`` bytes.

    Args:
        notebook: the notebook to change.
        limit: number of bytes that the notebook must stay below.

    Raises:
        InputError: if the notebook is too large even with the smallest pictures.
    """
    # Every try starts from the first encoding, so that losses do not add up.
    originals = [(data, data["image/png"]) for data in _pictures(notebook)]

    for scale, quality in _QUALITIES:
        if len(nbformat.writes(notebook).encode()) < limit:
            return

        for data, encoded in originals:
            picture = Image.open(io.BytesIO(base64.b64decode(encoded)))
            kind, content = encode(picture, scale, quality)

            # The type may change from one try to the next.
            data.pop("image/png", None)
            data.pop("image/jpeg", None)
            data[kind] = base64.b64encode(content).decode()

    if len(nbformat.writes(notebook).encode()) >= limit:
        raise InputError(
            f"The executed notebook has more than {limit:,} bytes: show fewer pictures in it."
        )


def _pictures(notebook: nbformat.NotebookNode) -> Iterator[Any]:
    """Yield the data of every output that holds a PNG picture."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield output["data"]


def encode(picture: Image.Image, scale: float, quality: int) -> tuple[str, bytes]:
    """Return the type and the bytes of a picture, as palette PNG or JPEG, whichever is smaller.

    Args:
        picture: the picture; transparent parts become white.
        scale: factor of both sides, in pixels.
        quality: quality of the JPEG, from 1 to 95.
    """
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))

    # JPEG has no transparency.
    opaque = Image.new("RGB", picture.size, "white")
    opaque.paste(picture, mask=picture.getchannel("A") if "A" in picture.getbands() else None)
    opaque = opaque.resize(size, Image.Resampling.LANCZOS)

    encodings: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("image/png", opaque.quantize(128), {"format": "PNG", "optimize": True}),
        ("image/jpeg", opaque, {"format": "JPEG", "quality": quality, "optimize": True}),
    )
    encoded: list[tuple[str, bytes]] = []
    for kind, image, options in encodings:
        buffer = io.BytesIO()
        image.save(buffer, **options)
        encoded.append((kind, buffer.getvalue()))

    return min(encoded, key=lambda pair: len(pair[1]))
