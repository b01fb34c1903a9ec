"""Pictures of every format that Pillow writes, whole and damaged: the same pixels or a sentence."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.images import decode_image, load_image, to_rgb
from support.fuzz import damaged, tries

EXTRA = {
    "TIFF": [
        {"compression": name} for name in ("raw", "tiff_lzw", "jpeg", "tiff_deflate", "packbits")
    ],
    "WEBP": [{"lossless": True}],
}


def formats():
    """(name, encoded bytes) of every format that Pillow writes and reads, in some modes."""
    Image.init()
    found = []
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 4), dtype=np.uint8)
    for name in sorted(Image.SAVE):
        for mode in ("RGB", "L", "RGBA", "P", "1", "I;16", "F", "CMYK"):
            wide = mode in ("I;16", "F")
            image = (
                Image.fromarray(noise[..., 0].astype(np.uint16 if mode == "I;16" else np.float32))
                if wide
                else Image.fromarray(noise)
            )
            image = (
                image if wide else image.convert("RGB").convert(mode) if mode != "RGBA" else image
            )
            for options in ({}, *EXTRA.get(name, [])):
                sink = io.BytesIO()
                try:
                    image.save(sink, name, **options)
                    Image.open(io.BytesIO(sink.getvalue())).load()
                except Exception:  # the format has no such mode, or is only written
                    continue
                found.append((f"{name} {mode} {options}", sink.getvalue()))
    return found


FORMATS = formats()


def test_the_usual_formats_are_among_those_that_are_tried():
    assert {"PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF", "DDS", "BLP"} <= {
        name.split()[0] for name, _ in FORMATS
    }


def test_a_damaged_picture_is_read_or_refused_in_one_sentence():
    """Bits flipped, holes, ends cut off, bytes doubled.

    Never another exception, whatever decoder raises it.
    """
    generator = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for number in tries(600):
        name, content = FORMATS[number % len(FORMATS)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = decode_image(damaged(content, generator), "The picture")
            assert image.mode == "RGB", name
            outcomes["read"] += 1
        except InputError as error:
            assert len(str(error).splitlines()) == 1, name
            outcomes["refused"] += 1
    print(f"damaged pictures of {len(FORMATS)} kinds: {outcomes}")
    assert min(outcomes.values()) > 10


@pytest.mark.parametrize(("name", "content"), FORMATS, ids=[name for name, _ in FORMATS])
def test_a_picture_is_read_as_pillow_shows_it(name, content):
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        expected = np.asarray(to_rgb(opened))
    assert np.array_equal(np.asarray(decode_image(content, "The picture")), expected)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_truncated_picture_is_refused_also_where_the_caller_allows_it(format, monkeypatch):
    """Never filled with grey."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = next(
        content
        for name, content in FORMATS
        if name.startswith(f"{format} RGB ") or name.startswith(f"{format} P ")
    )
    with pytest.raises(InputError):
        decode_image(content[: len(content) * 2 // 3], "The picture")
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.png",
        "http://x/y",
        "s3://b/a.png",
        "hf://x/y.png",
        "ftp://a/b",
        "file:///a.png",
        "data:image/png;base64,aa",
    ],
)
def test_an_address_is_no_file(address):
    with pytest.raises(
        InputError, match="nothing is fetched from the network: download the picture"
    ):
        load_image(address)


# --- values that eight bits do not hold ---


def grey(values, dtype):
    return np.asarray(to_rgb(Image.fromarray(np.array(values, dtype).reshape(2, -1))))[
        ..., 0
    ].ravel()


def test_pixels_that_are_not_finite_do_not_decide_the_scale():
    with pytest.warns(UserWarning, match="3 pixels of the picture are not finite and drawn black"):
        found = grey([0.0, 0.5, 1.0, np.nan, np.inf, -np.inf], np.float32)
    assert found.tolist() == [0, 127, 255, 0, 0, 0]


def test_a_picture_without_a_finite_pixel_is_refused():
    with pytest.raises(InputError, match="no finite pixel"):
        to_rgb(Image.fromarray(np.full((9, 9), np.nan, np.float32)))


@pytest.mark.parametrize(
    ("top", "scale"),
    [
        (1, 255),
        (200, 1),
        (255, 1),
        (1000, 255 / 4095),
        (4095, 255 / 4095),
        (4096, 255 / 65535),
        (65535, 255 / 65535),
    ],
)
def test_grey_values_are_scaled_by_the_smallest_usual_range_that_holds_them(top, scale):
    """A mask, 8, 12 and 16 bits."""
    found = grey([0, top // 2, top, 0], np.uint16)
    assert found.tolist() == [0, int(top // 2 * scale), int(top * scale), 0]


def test_twelve_bits_in_a_file_are_no_black_picture(tmp_path):
    Image.fromarray(np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (64, 1))).save(
        tmp_path / "xray.png"
    )
    assert np.asarray(load_image(tmp_path / "xray.png")).max() == 255


# --- what is written beside the pixels ---


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b""],
)
def test_exif_that_cannot_be_read_means_no_rotation(tmp_path, exif):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").size == (30, 20)
