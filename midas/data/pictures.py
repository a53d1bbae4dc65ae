"""Open an image, convert it to RGB, and scale it to a square (`resize` in meta.json)."""

import io
import logging
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from midas.io.errors import reason

# the decoders of Pillow that a file may ask for: others start programs or are little tested
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset({
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
MAX_SCALED = 2**26  # pixels of a scaled image before its crop; 64 times the largest square
# how files begin that often have the name of an image
_SIGNATURES = {
    b"version https://git-lfs": "a pointer of Git LFS; run `git lfs pull`",
    b"%PDF": "a PDF file",
    b"8BPS": "a Photoshop file",
    b"\xff\x0a": "a JPEG XL file",
    b"\0\0\0\x0cJXL ": "a JPEG XL file",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML file",
    b"<svg": "an SVG file",
}
_TURNS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it writes to stderr by itself


def open_image(file: Path | io.BytesIO) -> Image.Image:
    """Open an image of one of `FORMATS`; a ValueError says what the file is instead."""
    if isinstance(file, Path) and not file.is_file():
        raise ValueError("it is not a regular file")  # a pipe or a device might never end
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        data = file.read_bytes() if isinstance(file, Path) else file.getvalue()
        raise ValueError(_explain(data)) from error


def _explain(data: bytes) -> str:
    """Why bytes are not an image that Pillow opens."""
    if not data.strip(b"\0"):
        return "holds only zeros" if data else "is empty"
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    for start, kind in _SIGNATURES.items():
        if data.startswith(start):
            return kind
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(data[:16]):
            try:
                factory(io.BytesIO(data), "")
            except Exception as error:  # decoders raise nearly anything
                return f"a {name} file that Pillow cannot open: {reason(error)}"
    return "not an image"


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB.

    It is turned as its EXIF data say, laid over white where transparent, and 16 bits a channel
    become 8. Floats and 32-bit integers have no known scale: they are a ValueError with the range.
    """
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        low, high = image.getextrema()
        kind = "floats" if image.mode == "F" else "32-bit or signed integers"
        raise ValueError(f"pixels are {kind} from {low:g} to {high:g}; save it with 8 or 16 bits")
    image = _turn(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)  # 0 ... 65535
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _turn(image: Image.Image) -> Image.Image:
    """Turn an image upright, or leave it where its EXIF data cannot be parsed."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken metadata raise nearly anything, and the pixels are whole
        turn = None
    return image if turn is None else image.transpose(turn)


def fit(image: Image.Image, size: int) -> Image.Image:
    """Scale the shorter side to `size` pixels (bilinear, antialiased), then crop the centre square.

    The rounding is that of torchvision's Resize and CenterCrop, which deployed code often uses.
    An image so thin that scaling would take too much memory is a ValueError.
    """
    width, height = (size * side // min(image.size) for side in image.size)
    if width * height > MAX_SCALED:
        raise ValueError(f"{image.width}x{image.height} is too long and thin")
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left = round((width - size) / 2)
    top = round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
