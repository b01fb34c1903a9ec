"""Read pictures from files as users have them: rotated by EXIF, with alpha, palette, CMYK or 16-bit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from entropy_grounding.errors import InputError
from entropy_grounding.structures import Box

MIN_SIDE = 8  # pixels: below it there is nothing to zoom into
MAX_ASPECT = 50.0  # beyond it the shorter side vanishes at the model's input
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def load_image(path: str | Path) -> Image.Image:
    """Read a picture file as upright 8-bit RGB; transparent pixels turn white, the first frame of an animation counts.

    Raises:
        InputError: when the file is missing, is no picture, is damaged, or has unusable dimensions.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"No image file at '{path}': check the path (image=...).")
    try:
        with Image.open(path) as opened:
            opened.load()
            image = to_rgb(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise InputError(f"'{path}' is not a picture that Pillow can read: convert it to PNG or JPEG.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The picture '{path}' is damaged or too large ({error}): save it again as PNG or JPEG.") from error
    check_image(image)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB: 16-bit grey scaled by its range, alpha composited on white, palette and CMYK converted."""
    if image.mode in _SIXTEEN_BIT or image.mode == "F":
        return _from_wide(np.asarray(image, dtype=np.float64))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_wide(values: np.ndarray) -> Image.Image:
    """Scale wide grey values to 8 bit: by 65535 where they exceed 8 bit, by 1 where they do not."""
    top = values.max(initial=0.0)
    scale = 1.0 if 1.0 < top <= 255.0 else (255.0 if top <= 1.0 else 255.0 / max(top, 65535.0))
    return Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8)).convert("RGB")


def check_image(image: Image.Image) -> None:
    """Raise `InputError` when a picture is too small or too thin to zoom into."""
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise InputError(f"The image is {width} x {height} pixels: both sides must be at least {MIN_SIDE} pixels.")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"The image is {width} x {height} pixels, longer than {MAX_ASPECT:g} times its shorter side: cut it into parts first."
        )


def cut(image: Image.Image, box: Box) -> tuple[Image.Image, Box]:
    """Cut a box out of an image in whole pixels (outwards) and return it with the box it really covers."""
    x0, y0 = max(int(np.floor(box.x0)), 0), max(int(np.floor(box.y0)), 0)
    x1, y1 = min(int(np.ceil(box.x1)), image.width), min(int(np.ceil(box.y1)), image.height)
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"The crop {box.xyxy()} lies outside the image of {image.width} x {image.height} pixels.")
    return image.crop((x0, y0, x1, y1)), Box(float(x0), float(y0), float(x1), float(y1))


def with_boxes(image: Image.Image, boxes: Sequence[Box], *, longest: int = 512) -> Image.Image:
    """Return a small copy of an image with boxes drawn on it, for logs; ``longest`` is its longer side in pixels."""
    drawn = to_rgb(image)
    factor = min(1.0, longest / max(drawn.size))
    drawn = drawn.resize((max(1, round(drawn.width * factor)), max(1, round(drawn.height * factor))))
    pen = ImageDraw.Draw(drawn)
    for box in boxes:
        pen.rectangle([factor * edge for edge in box.xyxy()], outline=(0, 114, 178), width=2)
    return drawn
