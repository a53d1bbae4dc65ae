"""Whatever Pillow opens becomes an RGB square, as torchvision would make it."""

import io
import logging
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

from midas.data.pictures import fit, open_image, to_rgb

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def test_grey_is_repeated_in_every_channel():
    rgb = np.asarray(to_rgb(Image.fromarray(RAMP)))
    assert (rgb == RAMP[..., None]).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "I"])
def test_every_mode_keeps_black_and_white(mode):
    pixels = np.repeat([[0, 255]], 2, axis=0).astype(np.uint8).repeat(4, axis=1)
    grey = Image.fromarray(pixels)
    image = grey.convert(mode) if mode == "I" else grey.convert("RGB").convert(mode)
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


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (RAMP.astype(np.float32) / 255, r"floats from 0 to 0\.988235"),
        (RAMP.astype(np.float32) * 257, "floats from 0 to 64764"),
        (RAMP.astype(np.int32), "32-bit or signed integers from 0 to 252"),
    ],
)
def test_numbers_without_a_known_scale_are_refused_with_their_range(pixels, message, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"{message}; save it with 8 or 16 bits"):
        to_rgb(open_image(tmp_path / "a.tif"))


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(RAMP).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def with_chunk(kind: bytes, data: bytes, checksum: bytes | None = None) -> bytes:
    """A PNG with one more chunk before its pixels."""
    png = encoded("PNG")
    place = png.index(b"IDAT") - 4
    checksum = checksum or struct.pack(">I", zlib.crc32(kind + data))
    return png[:place] + struct.pack(">I", len(data)) + kind + data + checksum + png[place:]


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(b"eXIf", bytes(range(8))),
        with_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n   4\nzz00\n"),
        with_chunk(
            b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n  4\n12ab34cd\n")
        ),
        encoded("WEBP", lossless=True, exif=b"made by a phone"),
    ],
    ids=["no header", "not hexadecimal", "not TIFF", "text"],
)
def test_metadata_that_cannot_be_parsed_leave_the_image_unturned(data):
    assert (np.asarray(to_rgb(open_image(io.BytesIO(data))))[..., 0] == RAMP).all()


def test_an_image_is_turned_beside_a_tag_that_cannot_be_written_again():
    tags = [(0x0111, 9, 1, struct.pack("<i", -5)), (0x0112, 3, 1, struct.pack("<I", 3))]
    tags.insert(0, (0x0106, 1, 4, b"\1\2\3\4"))
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    exif = header + b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags) + b"\0" * 4
    turned = to_rgb(open_image(io.BytesIO(with_chunk(b"eXIf", exif))))
    assert (np.asarray(turned)[..., 0] == RAMP[::-1, ::-1]).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "^is empty$"),
        (bytes(1000), "^holds only zeros$"),
        (b"\0\0\0\x18ftypheic", "^a HEIC, AVIF or video file$"),
        (b"version https://git-lfs.github.com/spec/v1", "^a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "^a web page$"),
        (b"no image", "^not an image$"),
        (with_chunk(b"tEXt", b"Title\0abc", b"\0\0\0\0"), "^a PNG file that Pillow cannot open: "),
        (b"II*\0\x08\0\0\0\0\0", "^a TIFF file that Pillow cannot open: "),
    ],
)
def test_what_is_not_opened_is_named_by_what_it_is(data, message, capfd):
    with pytest.raises(ValueError, match=message), warnings.catch_warnings(action="ignore"):
        open_image(io.BytesIO(data))
    logging.getLogger("PIL.TiffImagePlugin").error("a line of Pillow's own")
    assert capfd.readouterr() == ("", "")
