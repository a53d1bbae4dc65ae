#!/usr/bin/env python3
"""Classify images with a model.onnx of this project.

    python predict.py [--top-k 1] [--json] [MODEL.onnx] photo.jpg folder/ - < list.txt

It needs Python 3.11 or newer, onnxruntime, numpy and Pillow, and nothing else. Classes and
preprocessing are in the metadata of the ONNX file. Images that cannot be read are reported; the
others are classified, and the exit code is 1. A copy of this file lies beside each exported model.
"""

import argparse
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # the decoders that Pillow may use
METADATA = ("midas_classes", "midas_input", "midas_genotype_hash", "midas_version")
MAX_SCALED = 2**26  # pixels of a scaled image before its crop
# The key of an external data entry in protobuf: its length, also in an overlong form, and its name.
EXTERNAL_WEIGHTS = re.compile(rb"(?:\x08|\x88\x80*\x00)location")


class PredictError(Exception):
    """A problem that the user can solve; its text is one line."""


@dataclass(frozen=True)
class Model:
    """A loaded ONNX file: its session, its class names, and the preprocessing of its images."""

    session: Any
    classes: list[str]
    height: int
    width: int
    resize: int  # the shorter side in pixels, before the crop
    mean: list[float]
    std: list[float]
    input: str  # float32 (normalised), uint8-nchw or uint8-nhwc
    output: str  # logits or probabilities

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities [N, classes] of images from `prepare_image`, or a PredictError."""
        try:
            (output,) = self.session.run([self.output], {"image": np.stack(images)})
        except Exception as error:  # onnxruntime's errors have no common class
            raise PredictError(f"the model cannot be computed ({_line(error)})") from error
        if self.output == "probabilities":
            return np.asarray(output)
        powers = np.exp(output - output.max(axis=1, keepdims=True))  # the shift avoids overflow
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def load_model(path: Path) -> Model:
    """Load an ONNX file of this project, or raise PredictError."""
    session = open_session(path)
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        values = (*session.get_inputs(), *session.get_outputs())
        (name, dtype, *sides), *outputs = [(v.name, v.type, *v.shape[1:]) for v in values]
    except ValueError as error:  # bytes that are not UTF-8
        raise PredictError(f"{path}: its names or metadata are damaged ({_line(error)})") from error
    if missing := ", ".join(key for key in METADATA if key not in metadata):
        raise PredictError(f"{path}: is not a model of this project, its metadata lack {missing}")
    try:
        classes = [str(label) for label in json.loads(metadata["midas_classes"])]
        image = json.loads(metadata["midas_input"])
        channels, height, width = map(int, image["size"])
        mean = [float(value) for value in image["mean"]]
        std = [float(value) for value in image["std"]]
        kinds = (image.get("input", "float32"), image.get("output", "logits"))
        model = Model(session, classes, height, width, int(image["resize"]), mean, std, *kinds)
        fixed = (image["interpolation"], image["crop"], channels, len(mean), len(std))
    except Exception as error:  # the JSON may hold anything
        raise PredictError(
            f"{path}: its midas_classes or midas_input are damaged ({_line(error)})"
        ) from error
    shape = (height, width, 3) if model.input == "uint8-nhwc" else (3, height, width)
    # A side that is free in the graph has no number there and fits every size.
    fits = all(a == b for a, b in zip(sides, shape, strict=False) if isinstance(a, int))
    graph = (name, dtype, len(sides), *outputs)
    input_type = "tensor(float)" if model.input == "float32" else "tensor(uint8)"
    described = ("image", input_type, 3, (model.output, "tensor(float)", len(classes)))
    if not fits or graph != described or fixed != ("bilinear", "center", 3, 3, 3):
        raise PredictError(f"{path}: its midas_classes or midas_input do not fit its graph")
    if model.resize < max(height, width) or min(height, width) < 1:
        raise PredictError(f"{path}: its midas_input crops more than the scaled image holds")
    return model


def open_session(path: Path, threads: int = 0) -> Any:
    """An ONNX file in onnxruntime on the CPU, or a PredictError; by default on all cores."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PredictError(
            f"{path}: the model cannot be read ({error.strerror}); name MODEL.onnx first"
        ) from error
    if EXTERNAL_WEIGHTS.search(data):
        raise PredictError(f"{path}: keeps weights in another file; export it again in one file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised, so they need not be logged
    options.intra_op_num_threads = threads
    providers = ["CPUExecutionProvider"]
    try:  # the fallback would print a banner and try the same provider again
        return onnxruntime.InferenceSession(data, options, providers, enable_fallback=False)
    except Exception as error:  # onnxruntime's errors have no common class
        raise PredictError(f"{path}: is truncated or not an ONNX model ({_line(error)})") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB: upright by its EXIF, transparency over white, 16 bits to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)  # 0 to 65535
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fit(image: Image.Image, resize: int, height: int, width: int) -> Image.Image:
    """Scale the shorter side to `resize` pixels and crop the centre, `width` x `height`."""
    if (short := min(image.size)) < 1:
        raise ValueError("it has no pixels")
    scaled = (resize * image.width // short, resize * image.height // short)
    if scaled[0] * scaled[1] > MAX_SCALED:
        raise ValueError(f"{image.width}x{image.height} is too long and thin")
    if scaled != image.size:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    left = round((scaled[0] - width) / 2)
    top = round((scaled[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def prepare_image(path: Path, model: Model) -> np.ndarray:
    """An image file as the model takes it. Any exception of the decoder passes through."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")  # a pipe or a device might never end
    with warnings.catch_warnings():  # opening warns of odd metadata, which do not matter
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            scaled = fit(to_rgb(image), model.resize, model.height, model.width)
            pixels = np.asarray(scaled)  # uint8 [H, W, 3]
    if model.input == "uint8-nhwc":
        return pixels
    if model.input == "float32":
        mean = np.array(model.mean, np.float32)
        pixels = (pixels.astype(np.float32) / 255 - mean) / np.array(model.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # [H, W, 3] to [3, H, W]


class Failures:
    """Reports on stderr what could not be read, and counts it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, name: object, reason: str) -> None:
        """Report one failure."""
        self.count += 1
        print(printable(f"{name}: {reason}"), file=sys.stderr, flush=True)


def find_images(arguments: Iterable[str], failures: Failures) -> Iterator[Path]:
    """The images that arguments name: files, folders at any depth, or `-` for a list on stdin."""
    for argument in arguments:
        if argument == "-":
            lines = (line.strip() for line in sys.stdin)
            yield from find_images((line for line in lines if line not in ("", "-")), failures)
        elif os.path.isdir(argument):  # noqa: PTH112 - Path.is_dir raises for a name too long
            if not (images := list(_images_in(Path(argument)))):
                failures.add(argument, "the folder holds no images")
            yield from images
        else:
            yield Path(argument)


def _images_in(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        yield from (Path(parent, name) for name in visible if Path(name).suffix.lower() in SUFFIXES)


def read_images(
    paths: Iterable[Path], model: Model, failures: Failures
) -> Iterator[tuple[Path, np.ndarray]]:
    """Each image that can be read, as the model takes it; the others are reported."""
    for path in paths:
        try:
            yield path, prepare_image(path, model)
        except UnidentifiedImageError:
            failures.add(path, "is not an image")
        except Exception as error:  # decoders raise nearly anything on broken bytes
            reason = getattr(error, "strerror", None) or _line(error)
            failures.add(path, f"cannot be read ({reason})")


def report(path: Path, row: np.ndarray, classes: Sequence[str], top_k: int, as_json: bool) -> str:
    """One line for an image: its most probable classes, from a row of probabilities [classes]."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")  # it need not be valid text
    best = [(classes[k], float(row[k])) for k in np.argsort(-row, kind="stable")[:top_k]]
    if not as_json:
        return printable(f"{name}: " + ", ".join(f"{label} {p:.4f}" for label, p in best))
    predictions = [{"class": label, "probability": round(p, 6)} for label, p in best]
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return json.dumps({"image": name, "predictions": predictions}, ensure_ascii=not unicode)


def printable(text: str) -> str:
    """Text as one line for a terminal; line ends and control sequences become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    usage = "%(prog)s [options] [MODEL.onnx] IMAGE..."
    parser = argparse.ArgumentParser("predict", usage, "Classify images with a model.")
    add = parser.add_argument
    add("paths", nargs="+", metavar="IMAGE", help="files, folders, or - for a list on stdin")
    add("--top-k", type=int, default=3, metavar="K", help="classes to name for an image (3)")
    add("--json", action="store_true", help="one JSON object a line instead of text")
    add("--batch", type=int, default=32, metavar="N", help="images at a time (32)")
    options = parser.parse_intermixed_args(argv)  # options may stand between paths
    if options.top_k < 1 or options.batch < 1:
        parser.error("--top-k and --batch must be at least 1")
    first = Path(options.paths[0])
    if (first / "model.onnx").is_file():  # a model folder
        first = first / "model.onnx"
    is_model = first.suffix.lower() == ".onnx"
    options.model = first if is_model else Path(__file__).resolve().with_name("model.onnx")
    options.paths = options.paths[is_model:]
    if not options.paths:
        parser.error("no IMAGE is named")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run the command: 0 if every image was classified, 1 if not, 2 for a wrong command line."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may be no text for the terminal
            stream.reconfigure(errors=errors)
    failures = Failures()
    try:
        options = _arguments(argv)
        model = load_model(options.model)
        images = read_images(find_images(options.paths, failures), model, failures)
        while batch := list(islice(images, options.batch)):
            rows = model.probabilities([image for _, image in batch])
            for (path, _), row in zip(batch, rows, strict=True):
                print(report(path, row, model.classes, options.top_k, options.json), flush=True)
    except PredictError as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output, e.g. head, has left
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - silences the last flush
        return 1
    return min(1, failures.count)


if __name__ == "__main__":
    sys.exit(main())
