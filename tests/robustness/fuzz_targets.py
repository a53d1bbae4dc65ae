"""What is fuzzed: for each kind of file a reader, its documented errors, and valid seeds.

A target takes any bytes. Anything that comes out of it but its documented error is a bug of this
project.
"""

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image
from tiny_onnx import SIDE, tiny_onnx

from midas.data.config import DataConfig
from midas.data.image_source import ImageSource
from midas.data.pictures import fit, open_image, to_rgb
from midas.deploy import predict
from midas.deploy.export import ExportConfig
from midas.drawing.svg import draw_svg
from midas.genotype import Genotype, load_genotype
from midas.io.errors import DataError, GenotypeError, ParamsError
from midas.proxy.config import DecodeStageConfig
from midas.search.config import SearchConfig
from midas.spaces import get_space
from midas.train.config import TargetConfig
from pipeline import params

ROOT = Path(__file__).parents[2]
SCRATCH = Path(
    tempfile.mkdtemp(prefix="midas-fuzz-")
)  # one file each, written again for every case
SECTIONS = {
    "data": DataConfig,
    "search": SearchConfig,
    "decode": DecodeStageConfig,
    "export": ExportConfig,
}
ARCH = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
PRINTED = "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=range(2, 3), "
PRINTED += "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2])"


def as_text(data: bytes) -> str:
    """Any bytes as text, lone surrogates included, which JSON's escapes and file names can hold."""
    return data.decode("utf-8", "surrogateescape")


def genotype(data: bytes) -> None:
    """JSON to a genotype, which then can be written, checked, listed and drawn. Documented:
    GenotypeError, ParamsError.
    """
    try:
        value = Genotype.from_json(as_text(data))
    except GenotypeError:
        return
    _use(value)


def arch(data: bytes) -> None:
    """An arch string or the printed form to a genotype. Documented: GenotypeError, ParamsError."""
    text = as_text(data)
    for read in (Genotype.from_arch, load_genotype):
        try:
            _use(read(text))
        except GenotypeError:
            continue


def _use(value: Genotype) -> None:
    """What a reader does next with a genotype."""
    assert Genotype.from_json(value.to_json()) == value
    for use in (value.to_arch, lambda: get_space(value.space).check(value)):
        try:
            use()
        except (GenotypeError, ParamsError):
            continue
    assert draw_svg(value).startswith("<svg")


def parameters(data: bytes) -> None:
    """A params.yaml to every typed section. Documented: ParamsError."""
    path = _written("params.yaml", data)
    try:
        whole = params.read(path)
    except ParamsError:
        return
    with patch.object(
        params, "read", return_value=whole
    ):  # a section reads the file again, which is most of the time
        _read_sections(path)


def _read_sections(path: Path) -> None:
    """Every section of a file of parameters."""
    readers: list[Callable[[], object]] = [
        *(
            lambda name=name, kind=kind: params.section(name, kind, path)
            for name, kind in SECTIONS.items()
        ),
        lambda: [
            params.section(f"targets.{n}", TargetConfig, path)
            for n in params.value("targets", dict[str, object], path)
        ],
        lambda: get_space(params.value("space", str, path)),
        lambda: params.value("seeds", list[int], path),
    ]
    for read in readers:
        try:
            read()
        except ParamsError:
            continue


def image(data: bytes) -> None:
    """A picture in a class folder and on predict's command line. Documented: DataError, and a line
    of predict's.
    """
    path = _written("picture.png", data)
    source = ImageSource(
        "fuzz", ("a", "b"), np.zeros(1), {}, lambda _: open_image(path), lambda _: "it"
    )
    faults: list[str] = []

    def work(_: int, picture: Image.Image) -> None:
        assert np.asarray(fit(to_rgb(picture), SIDE)).shape == (SIDE, SIDE, 3)

    with warnings.catch_warnings(action="ignore"):  # as the pool does once for all images
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        fault = source._attempt(0, 0, work)
    if fault is not None:
        assert "AssertionError" not in fault
        faults.append(str(DataError(fault)))
    counted = _Quiet()
    prepared = list(predict.read_images([path], MODEL, counted))
    assert len(prepared) + counted.count == 1
    assert len(prepared) == 1 - len(faults), "both readers say the same"
    assert all(pixels.shape == (3, SIDE, SIDE) for _, pixels in prepared)


class _Quiet(predict.Failures):
    """Faults that are counted and not printed."""

    def add(self, name: object, reason: str) -> None:
        assert predict.printable(f"{name}: {reason}").isprintable()
        self.count += 1


def onnx(data: bytes) -> None:
    """An ONNX file to a model, and an image through it. Documented: PredictError."""
    path = _written("fuzzed.onnx", data)
    try:
        model = predict.load_model(path)
        shape = (
            (model.height, model.width, 3)
            if model.input == "uint8-nhwc"
            else (3, model.height, model.width)
        )
        kind = np.float32 if model.input == "float32" else np.uint8
        answer = model.probabilities([np.zeros(shape, kind)])
    except predict.PredictError:
        return
    if answer.ndim == 2 and answer.shape[1] == len(model.classes):
        assert predict.report(path, answer[0], model, 3, False).isprintable()


def _written(name: str, data: bytes) -> Path:
    (SCRATCH / name).write_bytes(data)
    return SCRATCH / name


def _encoded(kind: str, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    ramp = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    Image.fromarray(ramp).convert(mode).save(file, kind)
    return file.getvalue()


MODEL = predict.load_model(tiny_onnx(SCRATCH / "valid.onnx"))
ZOO = json.loads((ROOT / "midas/zoo.json").read_text(encoding="utf-8"))
IMAGES = (
    ("PNG", "RGB"),
    ("PNG", "P"),
    ("JPEG", "L"),
    ("GIF", "P"),
    ("BMP", "RGB"),
    ("TIFF", "RGB"),
    ("WEBP", "RGBA"),
    ("PPM", "RGB"),
)
GENOTYPES = [json.dumps(ZOO[name]["genotype"]).encode() for name in ("darts_v2", "nb201_best")]
PRESETS = [(ROOT / f"presets/{name}.yaml").read_bytes() for name in ("quickstart", "imagenet")]
TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "genotype": (genotype, GENOTYPES),
    "arch": (arch, [ARCH.encode(), PRINTED.encode()]),
    "parameters": (parameters, PRESETS),
    "image": (image, [_encoded(kind, mode) for kind, mode in IMAGES]),
    "onnx": (onnx, [(SCRATCH / "valid.onnx").read_bytes()]),
}
