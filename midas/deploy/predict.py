#!/usr/bin/env python3
"""Classify images with a model.onnx of this project.

    python predict.py [--top-k 1] [--json] [MODEL.onnx] photo.jpg folder/ - < list.txt

It needs Python 3.11 or newer, onnxruntime, numpy and Pillow, and nothing else. What is passed over
is counted; the exit code is 1 if an image was. A copy of this file lies beside each exported model.
"""

import argparse
import io
import json
import logging
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError

SUFFIXES = frozenset({
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
HEIC = frozenset({".avif", ".heic", ".heif", ".hif"})
NOT_READ = "HEIC and AVIF photographs are not read; save them as JPEG"
NO_SUFFIX = "without a suffix"
# what NAS systems, macOS and Windows put into folders: thumbnails, bins, snapshots
SYSTEM_FOLDERS = frozenset({
    "@eadir", "@tmp", "@recycle", "@__thumb", "#recycle", "#snapshot", "__macosx", "$recycle.bin",
    "system volume information", "lost+found",
})  # fmt: skip
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # the decoders that Pillow may use
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Image.Transpose for each EXIF orientation
METADATA = ("midas_classes", "midas_input", "midas_genotype_hash", "midas_version")
MAX_SCALED = 2**26  # pixels of a scaled image before its crop
MAX_LINE = 300  # characters of a message
# The key of an external data entry in protobuf: its length, also in an overlong form, and its name.
EXTERNAL_WEIGHTS = re.compile(rb"(?:\x08|\x88\x80*\x00)location")
TOO_NEW = re.compile(r"Unsupported model IR version.{,60}|Opset \d+ is under development")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # it would write to stderr by itself


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
    input: str  # float32 (normalised), uint8-nchw, uint8-nhwc, or image (of any size)
    output: str  # logits or probabilities
    temperature: float  # divides logits before their softmax
    threshold: float  # of 1 - p2 / p1, below which the answer is "unknown"

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Calibrated probabilities [N, classes] of images from `prepare_image`; PredictError."""
        try:
            (output,) = self.session.run([self.output], {"image": np.stack(images)})
        except Exception as error:  # onnxruntime's errors have no common class
            raise PredictError(f"the model cannot be computed ({_line(error)})") from error
        if self.output == "probabilities":
            return np.asarray(output)
        shifted = output - output.max(axis=1, keepdims=True)  # avoids an overflow
        powers = np.exp(shifted / self.temperature)
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
        answers = json.loads(metadata.get("midas_calibration", "{}"))  # older files have none
        channels, height, width = map(int, image["size"])
        mean = [float(value) for value in image["mean"]]
        std = [float(value) for value in image["std"]]
        kinds = (image.get("input", "float32"), image.get("output", "logits"))
        limits = (float(answers.get("temperature", 1)), float(answers.get("threshold", 0)))
        resize = int(image["resize"])
        model = Model(session, classes, height, width, resize, mean, std, *kinds, *limits)
        fixed = (image["interpolation"], image["crop"], channels, len(mean), len(std))
        if not (0 < model.temperature < float("inf") and 0 <= model.threshold <= 1):
            raise ValueError("a number is out of range")
    except Exception as error:  # the JSON may hold anything
        keys = "midas_classes, midas_input or midas_calibration"
        raise PredictError(f"{path}: its {keys} are damaged ({_line(error)})") from error
    channels_last = model.input in ("uint8-nhwc", "image")
    shape = (height, width, 3) if channels_last else (3, height, width)
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
        if cause := TOO_NEW.search(" ".join(str(error).split())):
            advice = "install a newer one, or set a lower export.opset"
            fault = f"is too new for onnxruntime {onnxruntime.__version__} ({cause[0]}); {advice}"
        else:
            fault = f"is truncated or not an ONNX model ({_line(error)})"
        raise PredictError(f"{path}: {fault}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image in RGB, upright by its EXIF, over white where transparent; 16 bits become 8.

    Floats and integers of 32 bits have no known white: ValueError.
    """
    kind = image.format
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # broken metadata leave the image as it is
        turn = None
    if turn is not None:
        image = image.transpose(Image.Transpose(turn))
    if image.mode == "F" or (image.mode == "I" and kind == "TIFF"):
        low, high = image.getextrema()
        raise ValueError(f"32 bits a pixel, from {low:g} to {high:g}; save it with 8 or 16")
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float64)  # 0 to 65535
        image = Image.fromarray((deep / 257).round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def scaled_size(image: Image.Image, resize: int) -> tuple[int, int]:
    """Width and height of an image whose shorter side becomes `resize` pixels."""
    if (short := min(image.size)) < 1:
        raise ValueError("it has no pixels")
    width, height = (resize * side // short for side in image.size)
    if width * height > MAX_SCALED:
        raise ValueError(f"{image.width}x{image.height} is too long and thin")
    return width, height


def fit(image: Image.Image, resize: int, height: int, width: int) -> Image.Image:
    """Scale the shorter side to `resize` pixels and crop the centre, `width` x `height`."""
    scaled = scaled_size(image, resize)
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
            upright = to_rgb(image)
    if model.input == "image":  # the graph scales, to a size that must not be too large
        scaled_size(upright, model.resize)
        return np.asarray(upright)
    pixels = np.asarray(fit(upright, model.resize, model.height, model.width))  # uint8 [H, W, 3]
    if model.input == "uint8-nhwc":
        return pixels
    if model.input == "float32":
        mean = np.array(model.mean, np.float32)
        pixels = (pixels.astype(np.float32) / 255 - mean) / np.array(model.std, np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))  # [H, W, 3] to [3, H, W]


class Failures:
    """Reports on stderr what was not classified, and counts the images among it."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, name: object, reason: str, images: int = 1) -> None:
        """Report a reason for one name."""
        self.count += images
        print(_short(f"{name}: {reason}"), file=sys.stderr, flush=True)


def find_images(arguments: Iterable[str], failures: Failures) -> Iterator[Path]:
    """The images that arguments name: files, folders at any depth, or `-` for a list on stdin."""
    for argument in arguments:
        if argument == "-":
            lines = (line.rstrip("\r\n") for line in sys.stdin)
            yield from find_images((line for line in lines if line not in ("", "-")), failures)
        elif os.path.isdir(argument):  # noqa: PTH112 - Path.is_dir raises for a name too long
            yield from _images_in(argument, failures)
        else:
            yield Path(argument)


def _images_in(folder: str, failures: Failures) -> Iterator[Path]:
    """The images in a folder, also behind links; then what was passed over is reported by kind."""
    kinds: Counter[str] = Counter()
    visited: set[str] = set()  # a link may lead back
    images = 0

    def report_folder(error: OSError) -> None:
        failures.add(error.filename, f"cannot be read ({error.strerror})")

    for parent, folders, names in os.walk(folder, onerror=report_folder, followlinks=True):
        if (place := os.path.realpath(parent)) in visited:
            kinds["folder reached twice"] += 1
            folders.clear()
            continue
        visited.add(place)
        unused = [name for name in folders if name[0] == "." or name.lower() in SYSTEM_FOLDERS]
        kinds.update("hidden folder" if n[0] == "." else "folder of a file server" for n in unused)
        folders[:] = sorted(set(folders) - set(unused))
        for name in sorted(names):
            kind = "hidden" if name[0] == "." else Path(name).suffix.lower() or NO_SUFFIX
            if kind in SUFFIXES:
                images += 1
                yield Path(parent, name)
            else:
                kinds[kind] += 1
    if not images:
        failures.add(folder, "the folder holds no images")
    if kinds:
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        reason = f"; {NOT_READ}" if kinds.keys() & HEIC else ""
        unread = sum(kinds[kind] for kind in (*HEIC, NO_SUFFIX))
        failures.add(folder, f"passed over: {listed}{reason}", unread)


def read_images(
    paths: Iterable[Path], model: Model, failures: Failures
) -> Iterator[tuple[Path, np.ndarray]]:
    """Each image that can be read, as the model takes it; the others are reported."""
    for path in paths:
        try:
            yield path, prepare_image(path, model)
        except UnidentifiedImageError:
            is_heic = path.suffix.lower() in HEIC
            failures.add(path, NOT_READ if is_heic else "is not an image")
        except Exception as error:  # decoders raise nearly anything on broken bytes
            reason = getattr(error, "strerror", None) or _line(error)
            failures.add(path, f"cannot be read ({reason})")


def report(path: Path, row: np.ndarray, model: Model, top_k: int, as_json: bool) -> str:
    """One line for an image: its most probable classes, from a row of probabilities [classes]."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")  # it need not be valid text
    best = [(model.classes[k], float(row[k])) for k in np.argsort(-row, kind="stable")[:top_k]]
    second, first = np.partition(row.astype(np.float64), -2)[-2:]
    unknown = bool(1 - second / first < model.threshold)
    if not as_json:
        likely = ", ".join(f"{label} {p:.4f}" for label, p in best)
        return printable(f"{name}: unknown ({likely})" if unknown else f"{name}: {likely}")
    value: dict[str, Any] = {"image": name}
    if model.threshold:
        value["unknown"] = unknown
    value["predictions"] = [{"class": label, "probability": round(p, 6)} for label, p in best]
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    return json.dumps(value, ensure_ascii=not unicode)


def printable(text: str) -> str:
    """Text as one line for a terminal; line ends and control sequences become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _short(text: str, longest: int = MAX_LINE) -> str:
    """Text as one printable line; the middle of a long one is left out."""
    line = printable(text)
    half = longest // 2 - 3
    return line if len(line) <= longest else f"{line[:half]} ... {line[-half:]}"


def _line(error: Exception) -> str:
    return _short(" ".join(str(error).split()), 160) or type(error).__name__


def _arguments(argv: list[str]) -> argparse.Namespace:
    usage = "%(prog)s [options] [MODEL.onnx] IMAGE..."
    parser = argparse.ArgumentParser("predict", usage, "Classify images with a model.")
    add = parser.add_argument
    add("paths", nargs="*", metavar="IMAGE", help="files, folders, or - for a list on stdin")
    add("--top-k", type=int, default=3, metavar="K", help="classes to name for an image (3)")
    add("--json", action="store_true", help="one JSON object a line instead of text")
    add("--batch", type=int, default=32, metavar="N", help="images at a time (32)")
    end = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_intermixed_args(argv[:end])  # options may stand between paths
    options.paths += argv[end + 1 :]
    if options.top_k < 1 or options.batch < 1:
        parser.error("--top-k and --batch must be at least 1")
    first = Path(options.paths[0] if options.paths else "")
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
        options = _arguments(sys.argv[1:] if argv is None else argv)
        model = load_model(options.model)
        images = read_images(find_images(options.paths, failures), model, failures)
        size = 1 if model.input == "image" else options.batch  # those differ in height and width
        while batch := list(islice(images, size)):
            rows = model.probabilities([image for _, image in batch])
            for (path, _), row in zip(batch, rows, strict=True):
                print(report(path, row, model, options.top_k, options.json), flush=True)
    except PredictError as error:
        print(_short(str(error)), file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the output, e.g. head, has left
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - silences the last flush
        return 1
    return min(1, failures.count)


if __name__ == "__main__":
    sys.exit(main())
