"""Read the columns of a row by their types, not only by their names.

A value of another type makes the row unusable.
"""

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.images import decode_image, is_url, to_rgb

_PATIENCE = 30.0  # seconds to wait for a picture that is fetched from an address


def id_of(row: Mapping[str, Any], column: str) -> str:
    """Return the id in a column, which is a text or a whole number.

    Raises:
        InputError: for a row without an id.
    """
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        return value.strip()

    # Python counts True and False as whole numbers; they are no ids.
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"It has no id: {column} is {_shown(value)}.")


def text_of(row: Mapping[str, Any], identity: str, column: str) -> str:
    """Return a text of a row, without spaces around it.

    Raises:
        InputError: for a row without a text, or with a value of another type.
    """
    value = row.get(column)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise InputError(_complaint(identity, column, value, "a text"))


def answer_of(row: Mapping[str, Any], identity: str, column: str) -> str:
    """Return the only reference answer of a row. A number becomes the text of its digits.

    Raises:
        InputError: for a row with no answer, with several, or with a value of another type.
    """
    answers = texts_of(row, identity, column)
    if len(answers) != 1:
        raise InputError(
            f"Example '{identity}' has {len(answers)} references in {column}: "
            "this benchmark has one."
        )
    return answers[0]


def texts_of(row: Mapping[str, Any], identity: str, column: str) -> tuple[str, ...]:
    """Return the texts of a row: of a list, of one text, or of the answers of VQAv2 and SQuAD.

    One text is one reference and is never split into characters. ``{"answer": text}`` and
    ``{"text": [text, ...]}`` give their answers.

    Raises:
        InputError: for a row without a text, or with a value of another type.
    """
    value = _plain(row.get(column))
    if isinstance(value, Mapping) and "text" in value:
        value = _plain(value["text"])  # SQuAD
    many = value if isinstance(value, list) else [value]

    texts = [_one_text(item) for item in many]
    if not texts or None in texts or not any(text and text.strip() for text in texts):
        raise InputError(_complaint(identity, column, value, "a text or a list of texts"))
    return tuple(str(text) for text in texts)


def _one_text(value: Any) -> str | None:
    """Return one answer as text, or None if the value is no answer."""
    if isinstance(value, Mapping) and "answer" in value:
        value = value["answer"]  # VQAv2
    if isinstance(value, str):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)

    return str(value) if number and math.isfinite(value) else None


def boxes_of(value: Any) -> tuple[Box, ...]:
    """Return the boxes of a list of ``x, y, width, height`` in pixels; no box if there is no value.

    Raises:
        InputError: for anything but lists of four finite numbers.
    """
    value = _plain(value)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InputError(
            f"Its evidence is {_shown(value)}: use a list of boxes x, y, width, height."
        )
    return tuple(box_of(xywh) for xywh in value)


def box_of(xywh: Any) -> Box:
    """Return the box of ``x, y, width, height`` in pixels, the form that the data sets use.

    No other place in the package converts this form.

    Raises:
        InputError: for anything but four finite numbers, or a negative size.
    """
    values = _plain(xywh)
    fine = (
        isinstance(values, list)
        and len(values) == 4
        and all(_is_finite(number) for number in values)
    )
    if not fine or min(values[2:]) < 0:
        raise InputError(
            f"An evidence box is {_shown(values)}: use x, y, width, height in pixels, "
            "four finite numbers."
        )

    x, y, width, height = map(float, values)
    return Box(x, y, x + width, y + height)


def picture_of(
    row: Mapping[str, Any],
    identity: str,
    column: str = "image",
    *,
    folder: Path | None = None,
    urls: bool = False,
) -> Image.Image:
    """Return the image of a row in RGB.

    A path is read only inside the folder of the data set. An address is read only if ``urls`` is
    true.

    Args:
        row: row of the data set.
        identity: id of the row, for messages.
        column: column with the image: encoded bytes, a path, or a picture.
        folder: folder of the data set, or None if it has none.
        urls: fetch pictures from http and https addresses.

    Raises:
        InputError: for a row without a picture, with a broken one, or with one that lies elsewhere.
    """
    image = row.get(column)
    if isinstance(image, Image.Image):
        return to_rgb(image)

    # `datasets` keeps an encoded image as {"bytes": ..., "path": ...}.
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes) and image:
        return decode_image(image, f"The image of example '{identity}'")
    if isinstance(image, str) and image.strip():
        content = _content(image.strip(), identity, folder, urls)
        return decode_image(content, f"The image of example '{identity}'")

    raise InputError(f"Example '{identity}' has no readable image.")


def base64_picture_of(row: Mapping[str, Any], identity: str, column: str) -> Image.Image:
    """Return the image of a row that keeps it as base64 text, in RGB.

    A copy of such data may also hold encoded bytes or a picture. A text is never a path here.

    Raises:
        InputError: for a row without a picture, and for a text that is no base64 of one.
    """
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        return picture_of(row, identity, column)

    try:
        content = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(
            f"The image of example '{identity}' is '{value[:40]}', which is no base64 text: "
            f"{column} holds the bytes of a picture file in this form."
        ) from error
    return decode_image(content, f"The image of example '{identity}'")


def _content(path: str, identity: str, folder: Path | None, urls: bool) -> bytes:
    """Return the bytes of a picture that a row names by its path or address."""
    if is_url(path) or "://" in path:
        if not urls or not path.lower().startswith(("http://", "https://")):
            raise InputError(
                f"The image of example '{identity}' is the address '{path[:100]}', which is not "
                "fetched: download the pictures into the data set's folder, or allow http and "
                "https with benchmark.allow_urls=true."
            )
        with urlopen(path, timeout=_PATIENCE) as response:
            return bytes(response.read())

    # The path is resolved first, so that ".." and links cannot lead out of the folder.
    place = (folder / path).resolve() if folder else None
    if (
        place is None
        or folder is None
        or not place.is_relative_to(folder.resolve())
        or not place.is_file()
    ):
        raise InputError(
            f"The image of example '{identity}' is '{path[:100]}', "
            "which is no file inside the data set's folder."
        )
    return place.read_bytes()


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """Return arrays and other sequences as lists, and NumPy numbers as Python numbers."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value


def _complaint(identity: str, column: str, value: Any, wanted: str) -> str:
    """Return the sentence for a missing value or a value of another type."""
    empty = value is None or (isinstance(value, Iterable) and not any(True for _ in value))
    if empty or value == [None] or (isinstance(value, str) and not value.strip()):
        return f"Example '{identity}' has no {column}."

    return f"Example '{identity}' has {_shown(value)} as {column}: use {wanted}."


def _shown(value: Any) -> str:
    """Return at most 60 characters of a value, and its type, for messages."""
    text = repr(value)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"
