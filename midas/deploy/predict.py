#!/usr/bin/env python3
"""Classify images with a model.onnx of this project. Needs Python 3.11 or newer, onnxruntime, numpy and Pillow only.

    python predict.py photo.jpg folder/
    python predict.py --top-k 1 --json other/model.onnx - < list.txt

Classes and preprocessing are read from the ONNX file's metadata. An image that cannot be read is reported and the
others go on; the exit code is then 1. This file is complete in itself and is copied beside each exported model.
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

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's decoders for them, and no others
METADATA = ("midas_classes", "midas_input", "midas_genotype_hash", "midas_version")
MAX_SCALED = 2**26  # pixels of a scaled image before its crop
# the key of an external data entry as protobuf writes it, length first, and as a forger might
_ELSEWHERE = re.compile(rb"(?:\x08|\x88\x80*\x00)location")


class PredictError(Exception):
    """Something the user can mend, in one line."""


@dataclass(frozen=True)
class Model:
    """A loaded ONNX file: its session, its class names, and how it wants images prepared."""

    session: Any
    classes: list[str]
    height: int
    width: int
    resize: int
    mean: list[float]
    std: list[float]
    input: str  # what the graph takes: float32 (normalised), uint8-nchw or uint8-nhwc
    output: str  # what it gives: logits or probabilities

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities [N, classes] for images from `prepare_image`; a PredictError where the graph fails on them."""
        try:
            (logits,) = self.session.run([self.output], {"image": np.stack(images)})
        except Exception as error:  # onnxruntime's errors have no common class
            raise PredictError(f"the model cannot be computed ({_line(error)})") from error
        if self.output == "probabilities":
            return np.asarray(logits)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))  # the shift avoids overflow
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def load_model(path: Path) -> Model:
    """Load an ONNX file that this project exported.

    Raises:
        PredictError: it is missing, damaged, keeps weights in other files, or lacks our metadata.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PredictError(f"{path}: the model cannot be read ({error.strerror}); give MODEL.onnx first") from error
    if keeps_weights_elsewhere(data):
        raise PredictError(f"{path}: keeps weights in another file, which is refused; export it again in one file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised as well, and are told in one line here
    try:
        # without the fallback, which would print a banner and try the same provider again
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=False)
    except Exception as error:  # onnxruntime's errors have no common class
        raise PredictError(f"{path}: is truncated or not an ONNX model ({_line(error)})") from error
    return _described(path, session)


def keeps_weights_elsewhere(data: bytes) -> bool:
    """Whether an ONNX file's bytes name another file to read weights from."""
    return _ELSEWHERE.search(data) is not None


def _described(path: Path, session: Any) -> Model:
    """The model with what its metadata say."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        values = [(v.name, v.type, *v.shape[1:]) for v in (*session.get_inputs(), *session.get_outputs())]
    except ValueError as error:  # bytes that are no UTF-8
        raise PredictError(f"{path}: its names or metadata are damaged ({_line(error)})") from error
    if missing := [key for key in METADATA if key not in metadata]:
        raise PredictError(f"{path}: is not a model of this project, its metadata lack {', '.join(missing)}")
    try:
        classes, prepare = json.loads(metadata["midas_classes"]), json.loads(metadata["midas_input"])
        channels, height, width = map(int, prepare["size"])
        model = Model(
            session, list(map(str, classes)), height, width, int(prepare["resize"]),
            [float(value) for value in prepare["mean"]], [float(value) for value in prepare["std"]],
            prepare.get("input", "float32"), prepare.get("output", "logits"),
        )  # fmt: skip
        kind = (prepare["interpolation"], prepare["crop"], channels, len(model.mean), len(model.std))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise PredictError(f"{path}: its metadata midas_classes or midas_input are damaged ({_line(error)})") from error
    sides = [side if isinstance(side, int) else own for side, own in zip(values[0][2:], _shape(model), strict=False)]
    graph = [(*values[0][:2], *sides), *values[1:]]  # free sides are the model's own
    taken = "tensor(float)" if model.input == "float32" else "tensor(uint8)"
    wanted = [("image", taken, *_shape(model)), (model.output, "tensor(float)", len(classes))]
    if kind != ("bilinear", "center", 3, 3, 3) or graph != wanted:
        raise PredictError(f"{path}: its metadata midas_classes or midas_input do not fit its graph")
    if model.resize < max(height, width) or min(height, width) < 1:
        raise PredictError(f"{path}: its metadata midas_input ask for a crop that is larger than the image")
    return model


def _shape(model: Model) -> tuple[int, int, int]:
    """The shape of one image as the graph takes it."""
    return (model.height, model.width, 3) if model.input == "uint8-nhwc" else (3, model.height, model.width)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB: turned as its EXIF says, transparency over white, 16 bits scaled to 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)  # 0 ... 65535
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
    left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def prepare_image(path: Path, model: Model) -> np.ndarray:
    """Read an image as the model takes it: pixels, or normalised float32 [3, H, W]. Raises whatever reading raises."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")  # a pipe or a device might never end
    with warnings.catch_warnings():  # before the file is opened, which warns as well
        warnings.simplefilter("ignore")  # remarks about odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            pixels = np.asarray(fit(to_rgb(image), model.resize, model.height, model.width))  # uint8 [H, W, 3]
    if model.input != "float32":
        return pixels if model.input == "uint8-nhwc" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    pixels = pixels.astype(np.float32)
    mean, std = np.array(model.mean, np.float32), np.array(model.std, np.float32)
    return np.ascontiguousarray(((pixels / 255 - mean) / std).transpose(2, 0, 1))  # [H, W, 3] to [3, H, W]


class Faults:
    """Counts what went wrong and reports each on stderr as it comes."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, name: object, reason: str) -> None:
        """Report one."""
        self.count += 1
        print(printable(f"{name}: {reason}"), file=sys.stderr, flush=True)


def find_images(arguments: Iterable[str], faults: Faults) -> Iterator[Path]:
    """The images that arguments name: files, folders with all images below them, `-` for a list of those on stdin."""
    for argument in arguments:
        if argument == "-":
            yield from find_images((line.strip() for line in sys.stdin if line.strip() not in ("", "-")), faults)
        elif os.path.isdir(argument):  # noqa: PTH112 - of a name that is too long, Path's asks the system and raises
            found = list(_below(Path(argument)))
            if not found:
                faults.add(argument, "the folder holds no images")
            yield from found
        else:
            yield Path(argument)


def _below(folder: Path) -> Iterator[Path]:
    """The visible files with an image's suffix at any depth, sorted."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in names if not name.startswith("."))
        yield from (Path(parent, name) for name in visible if Path(name).suffix.lower() in SUFFIXES)


def read_images(paths: Iterable[Path], model: Model, faults: Faults) -> Iterator[tuple[Path, np.ndarray]]:
    """Each image that can be read, prepared; the others are reported."""
    for path in paths:
        try:
            yield path, prepare_image(path, model)
        except UnidentifiedImageError:
            faults.add(path, "is not an image")
        except OSError as error:
            faults.add(path, f"cannot be read ({error.strerror or _line(error)})")
        except Exception as error:  # decoders raise nearly anything on broken bytes
            faults.add(path, f"cannot be read ({_line(error)})")


def report(path: Path, probabilities: np.ndarray, classes: Sequence[str], top_k: int, as_json: bool) -> str:
    """One line for one image: its most probable classes, falling."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")  # a file's name need not be valid text
    best = np.argsort(-probabilities, kind="stable")[:top_k]
    if as_json:
        predictions = [{"class": classes[i], "probability": round(float(probabilities[i]), 6)} for i in best]
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        return json.dumps({"image": name, "predictions": predictions}, ensure_ascii=not unicode)
    return printable(f"{name}: " + ", ".join(f"{classes[i]} {probabilities[i]:.4f}" for i in best))


def printable(text: str) -> str:
    """Text as one line for a terminal: line ends and control sequences in names and classes are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(error: Exception) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, with the model split from the images."""
    parser = argparse.ArgumentParser(
        prog="predict", usage="%(prog)s [options] [MODEL.onnx] IMAGE...", description="Classify images with a model."
    )
    parser.add_argument("paths", nargs="+", metavar="IMAGE", help="files, folders, or - for a list on stdin")
    parser.add_argument("--top-k", type=_positive, default=3, metavar="K", help="classes to name for an image (3)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    parser.add_argument("--batch", type=_positive, default=32, metavar="N", help="images at a time (32)")
    options = parser.parse_intermixed_args(argv)  # options may stand between paths
    first = Path(options.paths[0])
    first = first / "model.onnx" if (first / "model.onnx").is_file() else first  # a model folder
    named = first.suffix.lower() == ".onnx"
    options.model = first if named else Path(__file__).resolve().with_name("model.onnx")
    options.paths = options.paths[named:]
    if not options.paths:
        parser.error("no IMAGE is given")
    return options


def predict(options: argparse.Namespace) -> int:
    """Load the model, print a line for each image, and count what could not be read."""
    model, faults = load_model(options.model), Faults()
    images = read_images(find_images(options.paths, faults), model, faults)
    while batch := list(islice(images, options.batch)):
        for (path, _), row in zip(batch, model.probabilities([image for _, image in batch]), strict=True):
            print(report(path, row, model.classes, options.top_k, options.json), flush=True)
    return faults.count


def main(argv: list[str] | None = None) -> int:
    """The command; 0 where every image was classified, 1 where something was wrong, 2 for a wrong command line."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text, and text need not fit a terminal
            stream.reconfigure(errors=errors)
    try:
        return min(1, predict(_arguments(argv)))
    except PredictError as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output has left, e.g. head
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - so that the interpreter's last flush is quiet
        return 1


if __name__ == "__main__":
    sys.exit(main())
