"""One picture: any mode to RGB, any size to a square. What `meta.json` calls `resize` is `fit`."""

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's decoders that a file may ask for
MAX_SCALED = 2**26  # pixels of a scaled image before its crop; 64 times the largest square allowed


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any Pillow mode in RGB: turned as its EXIF says, transparency over white, 16 bits scaled to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)  # 0 ... 65535
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fit(image: Image.Image, size: int) -> Image.Image:
    """Scale the shorter side to `size` pixels (bilinear, antialiased), then crop the centre: a square.

    The roundings are those of torchvision's Resize and CenterCrop, which deployments know.

    Raises:
        ValueError: the image is so long and thin that scaling it would take absurd memory.
    """
    width, height = image.size
    short = min(width, height)
    width, height = size * width // short, size * height // short  # the long side is rounded down
    if width * height > MAX_SCALED:
        raise ValueError(f"{image.width}x{image.height} is too long and thin")
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))
