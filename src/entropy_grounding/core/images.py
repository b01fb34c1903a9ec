"""Read picture files of any kind: rotated by EXIF, with alpha, palette, CMYK or 16-bit.

A decoder may fail with any exception. Each becomes one sentence about that picture. A damaged
picture is refused, never filled with grey.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFile, ImageOps, UnidentifiedImageError

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box

MIN_SIDE = 8  # pixels: a smaller picture has nothing to zoom into
MAX_ASPECT = 50.0  # in a longer picture the shorter side vanishes at the model's input
_WIDE = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # modes with more than 8 bits per pixel
# The largest values of a mask or fraction, of 8, of 12 and of 16 bits.
_RANGES = (1.0, 255.0, 4095.0, 65535.0)
# Rows that are converted at a time: a large picture then needs little more memory than its pixels.
_STRIP = 512
_URL = re.compile(r"(https?|ftp|hf|s3|gs|file):/|data:", re.IGNORECASE)


def load_image(path: str | Path) -> Image.Image:
    """Read a picture file as upright 8-bit RGB.

    Transparent pixels become white. Of an animation the first frame is read.

    Raises:
        InputError: when the file is missing, is no picture, is damaged, or has unusable dimensions.
    """
    if is_url(str(path)):
        raise InputError(
            f"'{path}' is an address, and nothing is fetched from the network: "
            "download the picture and pass its file."
        )

    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"No image file at '{path}': check the path (image=...).")

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The picture '{path}' cannot be read ({error.strerror or error}): "
            "check its permissions."
        ) from error

    image = decode_image(content, f"The picture '{path}'")
    check_image(image)

    return image


def is_url(text: str) -> bool:
    """Tell whether a text is an address and not a path."""
    return _URL.match(text) is not None


def decode_image(content: bytes, name: str) -> Image.Image:
    """Decode the bytes of a picture file and return upright 8-bit RGB.

    Args:
        content: bytes of a file, in any format that Pillow reads.
        name: the name of the picture at the beginning of an error message.

    Raises:
        InputError: for bytes that are no picture, damaged, or too large. The decoder may raise
            anything.
    """
    try:
        with _strictly(), Image.open(io.BytesIO(content)) as opened:
            opened.load()
            _turn_upright(opened)
            return to_rgb(opened)

    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not a picture that Pillow can read: convert it to PNG or JPEG."
        ) from error
    except Exception as error:  # no list of what the decoders raise is complete
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name} is damaged or too large ({reason}): save it again as PNG or JPEG."
        ) from error


@contextmanager
def _strictly() -> Iterator[None]:
    """Refuse truncated pictures inside the block, also if the caller allows them.

    Warnings of Pillow are not shown.
    """
    allowed = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = allowed


def _turn_upright(image: Image.Image) -> None:
    """Rotate a picture as its EXIF data say. Data that cannot be read are ignored."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # the pixels are good, only the data beside them are not
        return


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB.

    Grey values of more than 8 bits are scaled by their range, alpha is composited on white, palette
    and CMYK are converted.

    Raises:
        InputError: for a picture without a finite pixel.
    """
    if image.mode in _WIDE:
        return _from_wide(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _by_strips(image, _on_white)

    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    """Return a picture with alpha, composited on white, as RGB."""
    rgba = strip.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")

    return Image.alpha_composite(white, rgba).convert("RGB")


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert a picture some rows at a time, which saves memory.

    The result is the same as if the whole picture were converted at once.
    """
    converted = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        strip.info = image.info  # the transparent colour is read from it
        converted.paste(convert(strip), (0, top))

    return converted


def _from_wide(image: Image.Image) -> Image.Image:
    """Scale grey values of more than 8 bits to 8 bits.

    The scale is the smallest of the usual ranges that holds the largest finite value, so that
    12-bit values in 16 bits do not give a black picture. Values that are not finite are drawn
    black, with a warning.

    Raises:
        InputError: if no pixel is finite.
    """
    values = np.asarray(image)
    finite = np.isfinite(values)
    if not finite.any():
        raise InputError(
            "The picture has no finite pixel (all are NaN or infinite): "
            "save it again with finite values."
        )
    if not finite.all():
        warnings.warn(
            f"{np.count_nonzero(~finite):,} pixels of the picture are not finite and drawn black.",
            stacklevel=2,
        )

    top = float(values.max(where=finite, initial=0.0))
    # A value above all usual ranges is its own range.
    scale = 255.0 / next((limit for limit in _RANGES if top <= limit), top)

    grey = np.empty(values.shape, np.uint8)
    # float64 for a strip at a time, because it needs eight times the memory of the result.
    for start in range(0, len(values), _STRIP):
        rows = slice(start, start + _STRIP)
        strip = np.where(finite[rows], values[rows], 0).astype(np.float64)
        grey[rows] = np.clip(strip * scale, 0, 255).astype(np.uint8)

    return Image.fromarray(grey).convert("RGB")


def check_image(image: Image.Image) -> None:
    """Raise `InputError` when a picture is too small or too thin to zoom into."""
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"The image is {width} x {height} pixels: "
            f"both sides must be at least {MIN_SIDE} pixels."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"The image is {width} x {height} pixels, "
            f"longer than {MAX_ASPECT:g} times its shorter side: cut it into parts first."
        )


def cut(image: Image.Image, box: Box) -> tuple[Image.Image, Box]:
    """Cut a box out of an image, rounded outwards to whole pixels.

    Returns:
        The crop, and the box that it really covers.

    Raises:
        InputError: for a box outside the image.
    """
    # Outwards, but never beyond the image.
    x0, y0 = max(int(np.floor(box.x0)), 0), max(int(np.floor(box.y0)), 0)
    x1, y1 = min(int(np.ceil(box.x1)), image.width), min(int(np.ceil(box.y1)), image.height)
    if x1 <= x0 or y1 <= y0:
        raise InputError(
            f"The crop {box.xyxy()} lies outside the image of "
            f"{image.width} x {image.height} pixels."
        )

    return image.crop((x0, y0, x1, y1)), Box(float(x0), float(y0), float(x1), float(y1))


def with_boxes(image: Image.Image, boxes: Sequence[Box], *, longest: int = 512) -> Image.Image:
    """Return a small copy of an image with boxes drawn on it, for logs.

    Args:
        image: the original image.
        boxes: in pixels of the original image.
        longest: longer side of the copy in pixels. A smaller image keeps its size.
    """
    drawn = to_rgb(image)
    factor = min(1.0, longest / max(drawn.size))
    width, height = max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor))
    drawn = drawn.resize((width, height))

    pen = ImageDraw.Draw(drawn)
    for box in boxes:
        pen.rectangle([factor * edge for edge in box.xyxy()], outline=(0, 114, 178), width=2)

    return drawn
