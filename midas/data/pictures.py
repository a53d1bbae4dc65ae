"""Convert an image of any mode to RGB, and one of any size to a square (`resize` in meta.json)."""

import numpy as np
from PIL import Image, ImageOps

# the decoders of Pillow that a file may ask for: others start programs or are little tested
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MAX_SCALED = 2**26  # pixels of a scaled image before its crop; 64 times the largest square


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB.

    It is turned as its EXIF data say, laid over white where transparent, and has 8 bits a channel.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)  # 0 ... 65535
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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
