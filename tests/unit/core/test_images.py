import numpy as np
import pytest
from PIL import Image

from entropy_grounding.core.errors import InputError
from entropy_grounding.core.geometry import Box
from entropy_grounding.core.images import check_image, cut, load_image, to_rgb


def saved(tmp_path, image, name="picture.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="No image file at .*absent.png"):
        load_image(tmp_path / "absent.png")


def test_a_text_file_is_no_picture(tmp_path):
    (tmp_path / "note.png").write_text("hello")
    with pytest.raises(InputError, match="not a picture"):
        load_image(tmp_path / "note.png")


def test_a_truncated_picture_is_damaged(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    path = saved(tmp_path, noise)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match="damaged"):
        load_image(path)


@pytest.mark.parametrize("size", [(1, 1), (7, 100)])
def test_too_small_images_are_refused(size):
    with pytest.raises(InputError, match=f"{size[0]} x {size[1]} pixels: both sides"):
        check_image(Image.new("RGB", size))


def test_a_strip_is_refused(tmp_path):
    with pytest.raises(InputError, match="20000 x 20 pixels"):
        load_image(saved(tmp_path, Image.new("RGB", (20_000, 20))))


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    assert load_image(
        saved(tmp_path, Image.new("RGB", (30, 20)), "turned.jpg", exif=exif)
    ).size == (20, 30)


def test_transparent_pixels_turn_white(tmp_path):
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image.putpixel((3, 3), (255, 0, 0, 255))
    loaded = load_image(saved(tmp_path, image))
    assert loaded.getpixel((0, 0)) == (255, 255, 255)
    assert loaded.getpixel((3, 3)) == (255, 0, 0)


def test_palette_with_transparency_turns_white(tmp_path):
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    assert load_image(saved(tmp_path, image, transparency=1)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_by_its_range(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    path = saved(tmp_path, Image.fromarray(np.tile(ramp, (16, 1))))
    values = np.asarray(load_image(path))[0, :, 0].astype(int)
    assert values[0] == 0
    assert values[-1] == 255
    assert abs(values[128] - 128) <= 1


def test_cmyk_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (10, 10), (0, 255, 255, 0)), "print.jpg")
    red, green, blue = load_image(path).getpixel((5, 5))
    assert red > 200
    assert max(green, blue) < 80


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]
)
def test_every_mode_becomes_rgb(mode):
    assert to_rgb(Image.new(mode, (9, 8))).mode == "RGB"


def test_a_cut_covers_whole_pixels_outwards():
    crop, place = cut(Image.new("RGB", (10, 10)), Box(1.2, 2.0, 3.1, 4.0))
    assert place == Box(1, 2, 4, 4)
    assert crop.size == (3, 2)


def test_a_cut_outside_is_refused():
    with pytest.raises(InputError, match="outside the image of 10 x 10"):
        cut(Image.new("RGB", (10, 10)), Box(20, 20, 30, 30))
