"""Verification notices each way in which an ONNX file may differ from its network."""

import copy
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from small_models import SIZE, normal_images, small

from midas.deploy.export import export_onnx
from midas.deploy.parity import verify
from midas.deploy.runtimes import ParityError
from midas.genotype import CellGenotype, Edge, Genotype
from midas.io.errors import ExportError
from midas.io.files import sha256
from midas.nets.build import build_network


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parity") / "model.onnx"
    export_onnx(small(), path, input_size=(3, SIZE, SIZE), metadata={})
    return path


def edited(source: Path, target: Path, edit) -> Path:
    """A copy of an ONNX file after `edit(proto)`."""
    proto = onnx.load(source)
    edit(proto)
    target.write_bytes(proto.SerializeToString())
    return target


def test_an_equal_file_passes_and_the_report_is_complete(exported: Path) -> None:
    report = verify(small(), exported, normal_images(40), 1e-4)
    assert report["images"] == 40
    assert report["class_agreement"] == 1
    assert report["relative_difference"] <= 1e-4
    assert report["relative_difference"] == report["max_abs_difference"] / report["logit_range"]
    assert [entry["batch"] for entry in report["batches"]] == [1, 2, 7, 32]
    assert (report["opset"], report["sha256"], report["bytes"]) == (
        20,
        sha256(exported),
        exported.stat().st_size,
    )


def test_the_report_is_the_same_each_time(exported: Path) -> None:
    assert verify(small(), exported, normal_images(40), 1e-4) == verify(
        small(), exported, normal_images(40), 1e-4
    )


def test_batches_larger_than_the_number_of_images_are_left_out(exported: Path) -> None:
    assert [
        entry["batch"] for entry in verify(small(), exported, normal_images(7), 1e-4)["batches"]
    ] == [1, 2, 7]


def test_without_images_nothing_is_verified(exported: Path) -> None:
    with pytest.raises(ParityError, match="without images"):
        verify(small(), exported, normal_images(0), 1e-4)


@pytest.mark.parametrize("content", [b"", b"not ONNX at all", None])
def test_a_damaged_file_is_invalid(exported: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(exported.read_bytes()[:-200] if content is None else content)
    with pytest.raises(ParityError, match=r"m\.onnx"):
        verify(small(), path, normal_images(2), 1e-4)


def test_weights_in_another_file_are_invalid(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        onnx.load(exported),
        str(path),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    with pytest.raises(ParityError, match="another file"):
        verify(small(), path, normal_images(2), 1e-4)


def test_other_names_are_noticed(exported: Path, tmp_path: Path) -> None:
    def rename(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].name = "pixels"
        for node in proto.graph.node:
            for k, name in enumerate(node.input):
                node.input[k] = "pixels" if name == "image" else name

    with pytest.raises(ParityError, match="pixels"):
        verify(small(), edited(exported, tmp_path / "m.onnx", rename), normal_images(2), 1e-4)


def test_a_fixed_batch_is_noticed(exported: Path, tmp_path: Path) -> None:
    def fix(proto: onnx.ModelProto) -> None:
        for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
            for axis in value.type.tensor_type.shape.dim:
                if axis.dim_param:
                    axis.dim_value = 2

    with pytest.raises(ParityError, match="dynamic batch"):
        verify(small(), edited(exported, tmp_path / "m.onnx", fix), normal_images(2), 1e-4)


def test_images_of_another_size_are_noticed(exported: Path) -> None:
    with pytest.raises(ParityError, match="the images are"):
        verify(small(), exported, torch.zeros(2, 3, 8, 8), 1e-4)


def test_a_file_with_other_classes_is_noticed(exported: Path) -> None:
    model = small()
    model.head = torch.nn.Linear(8, 4).eval()
    with pytest.raises(ParityError, match=r"logits \[1, 3\], the network \[1, 4\]"):
        verify(model, exported, normal_images(2), 1e-4)


def test_other_weights_are_noticed_with_their_difference(exported: Path) -> None:
    model = copy.deepcopy(small())
    with torch.no_grad():
        model.head.bias[0] += 0.25
    with pytest.raises(ParityError, match=r"\[1, .* logit differs by 0\.25") as caught:
        verify(model, exported, normal_images(4), 1e-4)
    assert caught.value.difference == pytest.approx(0.25, rel=1e-3)


def test_a_class_that_flips_within_the_tolerance_is_still_noticed(tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.head.weight[1] = model.head.weight[0]  # two classes tie up to 1e-6
        model.head.bias[:2] = torch.tensor([1e-5, 0])
        model.head.bias[2] = -1e3
    export_onnx(model, tmp_path / "m.onnx", input_size=(3, SIZE, SIZE), metadata={})

    def swap(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            if tensor.name == "head.bias":
                bias = numpy_helper.to_array(tensor).copy()
                bias[:2] = bias[1::-1]
                tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))

    path = edited(tmp_path / "m.onnx", tmp_path / "s.onnx", swap)
    with pytest.raises(ParityError, match="4 of 4 images get another class"):
        verify(model, path, normal_images(4), 1e-4)


def test_numbers_that_are_not_finite_are_not_equal(tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    export_onnx(model, tmp_path / "m.onnx", input_size=(3, SIZE, SIZE), metadata={})
    with pytest.raises(ParityError):
        verify(model, tmp_path / "m.onnx", normal_images(2), 1e-4)


def test_a_failure_is_an_export_error_that_carries_a_difference() -> None:
    assert issubclass(ParityError, ExportError)
    assert ParityError("text", 0.5).difference == 0.5


def test_a_file_that_fails_the_checker_is_invalid(exported: Path, tmp_path: Path) -> None:
    def add(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(helper.make_node("NoSuchOperator", ["image"], ["nothing"]))

    with pytest.raises(ParityError, match="NoSuchOperator"):
        verify(small(), edited(exported, tmp_path / "m.onnx", add), normal_images(2), 1e-4)


def test_a_cell_with_noise_is_deterministic_and_can_be_verified(
    tmp_path: Path,
) -> None:
    """The cell is of RDARTS's space S4, in which noise is an operation."""
    edges = tuple(
        Edge(op, k, node) for node in range(2, 6) for k, op in enumerate(("noise", "sep_conv_3x3"))
    )
    cell = CellGenotype(edges, (2, 3, 4, 5))
    network = build_network(
        Genotype("rdarts-s4", {"normal": cell, "reduce": cell}), num_classes=3, channels=4, cells=3
    )
    images = normal_images(4)
    assert not torch.equal(network(images), network(images)), "in training it draws"
    network.eval()
    assert torch.equal(network(images), network(images))
    export_onnx(network, tmp_path / "model.onnx", input_size=(3, SIZE, SIZE), metadata={})
    assert verify(network, tmp_path / "model.onnx", normal_images(7), 1e-4)["class_agreement"] == 1
