"""Files that take pixels, give probabilities, or leave the image's size free."""

from pathlib import Path

import onnx
import pytest
import timm
import torch
from model_folders import META, split_of
from PIL import Image
from small_models import SIZE, small

from midas.data.augment import normalise
from midas.deploy import errors
from midas.deploy.export import export_onnx
from midas.deploy.interface import Interface
from midas.deploy.parity import verify
from midas.deploy.runtimes import run_onnx, run_torch
from midas.runs.errors import ExportError

PIXELS = split_of(40, seed=4).images
FORMS = [
    Interface(META.mean, META.std, "uint8-nhwc", "probabilities", dynamic_size=True),
    Interface(META.mean, META.std, "uint8-nchw", "logits"),
]


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.input)
def form(request: pytest.FixtureRequest) -> Interface:
    return request.param


@pytest.fixture(scope="module")
def exported(form: Interface, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interface") / "model.onnx"
    export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata={}, interface=form)
    return path


def test_the_proof_compares_pixels_with_the_networks_normalised_images(form: Interface, exported: Path) -> None:
    images = normalise(PIXELS, META.mean, META.std)
    report = verify(small(), exported, images, 1e-4, form, form.feed(PIXELS))
    assert (report["input"], report["output"]) == (form.input, form.output)
    assert report["relative_difference"] <= 1e-6
    sizes = [entry["size"] for entry in report["batches"] if "size" in entry]
    assert sizes == ([[2 * SIZE, 3 * SIZE]] if form.dynamic_size else [])


def test_the_graph_normalises_as_timms_own_transform(form: Interface, exported: Path) -> None:
    data = {"input_size": (3, SIZE, SIZE), "mean": META.mean, "std": META.std, "crop_pct": 1.0}
    transform = timm.data.create_transform(**data, interpolation="bilinear", is_training=False)
    pictures = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in PIXELS[:8]]
    logits = run_torch(small(), torch.stack([transform(picture) for picture in pictures]), 8)
    torch.testing.assert_close(run_onnx(exported, form.feed(PIXELS[:8]), 8), form.expect(logits))


def test_another_order_of_axes_is_noticed(form: Interface, exported: Path) -> None:
    other = Interface(META.mean, META.std, "uint8-nhwc" if form.input == "uint8-nchw" else "uint8-nchw", form.output)
    with pytest.raises(errors.WrongAxes, match="takes images"):
        verify(small(), exported, normalise(PIXELS, META.mean, META.std), 1e-4, other, other.feed(PIXELS))


def test_logits_in_place_of_probabilities_are_noticed(form: Interface, exported: Path) -> None:
    other = Interface(META.mean, META.std, form.input, "logits" if form.output == "probabilities" else "probabilities")
    with pytest.raises(errors.WrongNames, match=form.output):
        verify(small(), exported, normalise(PIXELS, META.mean, META.std), 1e-4, other, other.feed(PIXELS))


def test_statistics_of_other_data_are_noticed(form: Interface, exported: Path) -> None:
    with pytest.raises(errors.DifferentValues):
        verify(small(), exported, normalise(PIXELS, META.mean, (0.5, 0.5, 0.5)), 1e-4, form, form.feed(PIXELS))


def test_a_runtime_that_computes_otherwise_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "model.onnx", tmp_path / "other.onnx"
    export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata={})
    export_onnx(small(seed=1), other, input_size=(3, SIZE, SIZE), metadata={})
    from midas.deploy import parity

    second = parity.run_second
    monkeypatch.setattr(parity, "run_second", lambda runtime, _, images: second(runtime, other, images))
    with pytest.raises(errors.DifferentRuntimes, match="reference and onnxruntime differ by"):
        verify(small(), path, normalise(PIXELS, META.mean, META.std), 1e-4)


def test_openvino_gives_the_same_values(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    export_onnx(small(), tmp_path / "model.onnx", input_size=(3, SIZE, SIZE), metadata={})
    images = normalise(PIXELS, META.mean, META.std)
    report = verify(small(), tmp_path / "model.onnx", images, 1e-4, second="openvino")
    assert report["second_runtime"]["name"] == "openvino"


@pytest.mark.parametrize("side", [4, 18])
def test_a_size_that_cannot_stand_for_all_is_refused_in_a_line(side: int, tmp_path: Path) -> None:
    form, model = Interface(META.mean, META.std, dynamic_size=True), small()
    model.feature_info = [{"reduction": 4}]
    with pytest.raises(ExportError, match=rf"dynamic_size: images of {side}x{side} .* multiple of 4, 8 or more"):
        export_onnx(model, tmp_path / "model.onnx", input_size=(3, side, side), metadata={}, interface=form)


def test_the_free_sides_have_names_and_the_channels_a_number(tmp_path: Path) -> None:
    form = Interface(META.mean, META.std, dynamic_size=True)
    export_onnx(small(), tmp_path / "model.onnx", input_size=(3, SIZE, SIZE), metadata={}, interface=form)
    axes = onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, "height", "width"]
