"""Whatever Pillow opens becomes an RGB square, as torchvision would make it."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from midas.data.pictures import fit, to_rgb

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def test_grey_is_repeated_in_every_channel():
    rgb = np.asarray(to_rgb(Image.fromarray(RAMP)))
    assert (rgb == RAMP[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "I", "F"])
def test_every_mode_keeps_black_and_white(mode):
    pixels = np.repeat([[0, 255]], 2, axis=0).astype(np.uint8).repeat(4, axis=1)
    grey = Image.fromarray(pixels)
    image = grey.convert(mode) if mode in ("I", "F") else grey.convert("RGB").convert(mode)
    if mode == "I":
        image = Image.fromarray(np.asarray(image) * 257)  # what 16-bit files hold
    rgb = np.asarray(to_rgb(image)).astype(int)
    assert rgb[:, :4].max() <= 2
    assert rgb[:, 4:].min() >= 253


def test_sixteen_bits_are_scaled_to_eight():
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert deep.mode.startswith("I;16")
    assert (np.asarray(to_rgb(deep))[..., 0] == RAMP).all()


def test_a_transparent_image_is_laid_over_white():
    image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert np.asarray(to_rgb(image)).tolist() == [[[200, 0, 0], [255, 255, 255]]]


def test_a_transparent_palette_entry_is_laid_over_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(to_rgb(Image.open(tmp_path / "p.png"))).tolist() == [
        [[255, 255, 255], [10, 20, 30]]
    ]


def test_an_image_is_turned_as_its_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    assert (np.asarray(to_rgb(Image.open(tmp_path / "a.png")))[..., 0] == RAMP[::-1, ::-1]).all()


@pytest.mark.parametrize("shape", [(40, 40), (31, 57), (90, 33), (7, 10), (16, 19), (16, 16)])
def test_fit_equals_resize_and_center_crop_of_torchvision(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = functional.center_crop(functional.resize(image, 16), [16, 16])
    assert (np.asarray(fit(image, 16)) == np.asarray(expected)).all()


def test_an_image_that_is_too_long_and_thin_is_refused():
    with pytest.raises(ValueError, match="1x100000 is too long and thin"):
        fit(Image.new("RGB", (1, 100_000)), 1024)
