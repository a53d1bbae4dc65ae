"""Files that take pixels, give probabilities, or leave the image's size free."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from model_folders import META, split_of
from onnx import TensorProto, helper
from PIL import Image
from small_models import SIZE, small

from midas.data.augment import normalise
from midas.data.pictures import fit
from midas.deploy.export import export_onnx
from midas.deploy.interface import Interface
from midas.deploy.parity import verify
from midas.deploy.photograph import take_photographs
from midas.deploy.runtimes import ParityError, run_onnx, run_second, run_torch
from midas.io.errors import ExportError

PIXELS = split_of(40, seed=4).images
IMAGES = normalise(PIXELS, META.mean, META.std)
FORMS = [
    Interface(META.mean, META.std, "uint8-nhwc", "probabilities", dynamic_size=True),
    Interface(META.mean, META.std, "uint8-nchw", "logits"),
    Interface(META.mean, META.std, "image", "probabilities", temperature=1.7),
]
RESIZE = {"midas_input": json.dumps({"resize": SIZE})}


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: form.input)
def form(request: pytest.FixtureRequest) -> Interface:
    return request.param


@pytest.fixture(scope="module")
def exported(form: Interface, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interface") / "model.onnx"
    export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata=RESIZE, interface=form)
    return path


def test_verification_compares_pixels_with_normalised_images(
    form: Interface, exported: Path
) -> None:
    report = verify(small(), exported, IMAGES, 1e-4, form, form.encode(PIXELS))
    assert (report["input"], report["output"]) == (form.input, form.output)
    assert report["relative_difference"] <= 1e-6
    sizes = [entry["size"] for entry in report["batches"] if "size" in entry]
    assert sizes == ([[2 * SIZE, 3 * SIZE]] if form.dynamic_size else [])


def test_the_graph_normalises_as_timms_own_transform(form: Interface, exported: Path) -> None:
    data = {"input_size": (3, SIZE, SIZE), "mean": META.mean, "std": META.std, "crop_pct": 1.0}
    transform = timm.data.create_transform(**data, interpolation="bilinear", is_training=False)
    photos = [Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()) for image in PIXELS[:8]]
    logits = run_torch(small(), torch.stack([transform(photo) for photo in photos]), 8)
    torch.testing.assert_close(
        run_onnx(exported, form.encode(PIXELS[:8]), 8), form.expected_output(logits)
    )


def test_another_order_of_axes_is_noticed(form: Interface, exported: Path) -> None:
    order = "uint8-nhwc" if form.input == "uint8-nchw" else "uint8-nchw"
    other = Interface(META.mean, META.std, order, form.output)
    with pytest.raises(ParityError, match="takes images"):
        verify(small(), exported, IMAGES, 1e-4, other, other.encode(PIXELS))


def test_logits_in_place_of_probabilities_are_noticed(form: Interface, exported: Path) -> None:
    output = "logits" if form.output == "probabilities" else "probabilities"
    other = Interface(META.mean, META.std, form.input, output)
    with pytest.raises(ParityError, match=form.output):
        verify(small(), exported, IMAGES, 1e-4, other, other.encode(PIXELS))


def test_statistics_of_other_data_are_noticed(form: Interface, exported: Path) -> None:
    images = normalise(PIXELS, META.mean, (0.5, 0.5, 0.5))
    with pytest.raises(ParityError):
        verify(small(), exported, images, 1e-4, form, form.encode(PIXELS))


def test_a_runtime_that_computes_otherwise_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    other = tmp_path / "other.onnx"
    export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata={})
    export_onnx(small(seed=1), other, input_size=(3, SIZE, SIZE), metadata={})

    def run_other(runtime: str, _: Path, images: torch.Tensor) -> torch.Tensor:
        return run_second(runtime, other, images)

    monkeypatch.setattr("midas.deploy.parity.run_second", run_other)
    with pytest.raises(ParityError, match="between onnxruntime and reference a logit"):
        verify(small(), path, IMAGES, 1e-4)


def test_openvino_gives_the_same_values(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    export_onnx(small(), tmp_path / "model.onnx", input_size=(3, SIZE, SIZE), metadata={})
    report = verify(small(), tmp_path / "model.onnx", IMAGES, 1e-4, second="openvino")
    assert report["second_runtime"]["name"] == "openvino"


@pytest.mark.parametrize("sides", [(9, 9), (31, 20), (75, 50), (16, 100), (SIZE, SIZE + 1)])
def test_a_photograph_is_scaled_and_cropped_as_pillow_does_it(
    sides: tuple[int, int], tmp_path: Path
) -> None:
    """On noise, the hardest case, a pixel differs by at most 2 of 255 and few differ at all."""
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["image"], ["pixels"])],
            "nothing",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 3, SIZE, SIZE])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    path = tmp_path / "model.onnx"
    merged = take_photographs(proto, SIZE, SIZE, SIZE, 18)
    assert [(entry.domain, entry.version) for entry in merged.opset_import] == [("", 18)]
    onnx.save(merged, path)
    draws = np.random.default_rng(sum(sides))
    images = torch.from_numpy(draws.integers(0, 256, (2, *sides, 3), dtype=np.uint8))
    actual = run_onnx(path, images, 2).int()
    squares = [np.asarray(fit(Image.fromarray(image.numpy()), SIZE)) for image in images]
    difference = (actual - torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)).abs()
    assert difference.max() <= 2
    assert (difference > 0).float().mean() < 0.03
    assert (run_second("reference", path, images).int() - actual).abs().max() <= 2


@pytest.mark.parametrize(("opset", "ir"), [(18, 8), (20, 9), (21, 10), (23, 11)])
def test_a_file_has_the_lowest_ir_version_of_its_opset(opset: int, ir: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata={}, opset=opset)
    assert onnx.load(path).ir_version == ir


@pytest.mark.parametrize("side", [4, 18])
def test_an_image_size_that_cannot_be_left_free_is_refused(side: int, tmp_path: Path) -> None:
    form = Interface(META.mean, META.std, dynamic_size=True)
    model = small()
    model.feature_info = [{"reduction": 4}]
    with pytest.raises(
        ExportError, match=rf"dynamic_size: images of {side}x{side} .* multiple of 4, 8 or more"
    ):
        export_onnx(
            model, tmp_path / "model.onnx", input_size=(3, side, side), metadata={}, interface=form
        )


def test_the_free_sides_have_names_and_the_channels_a_number(tmp_path: Path) -> None:
    form = Interface(META.mean, META.std, dynamic_size=True)
    export_onnx(
        small(), tmp_path / "model.onnx", input_size=(3, SIZE, SIZE), metadata={}, interface=form
    )
    axes = onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, "height", "width"]
