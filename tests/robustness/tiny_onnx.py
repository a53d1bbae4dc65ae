"""ONNX files of a few hundred bytes, made without a network."""

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIDE = 8


def tiny_onnx(path: Path, classes: tuple[str, str, str] = ("ant", "bee", "cat")) -> Path:
    """Write a file with our metadata, whose three logits are the means of the three channels."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    image = {
        "size": [3, SIDE, SIDE],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "resize": SIDE,
    }
    metadata = {
        "midas_classes": json.dumps(classes),
        "midas_input": json.dumps({**image, "interpolation": "bilinear", "crop": "center"}),
        "midas_genotype_hash": "0" * 64,
        "midas_version": "test",
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def onnx_with_external_weight(folder: Path, overlong: bool) -> Path:
    """Write a file whose weight is in another file.

    With `overlong`, the length of the key is written in two bytes where one is enough.
    """
    location = "secret.bin"
    (folder / location).write_bytes(bytes(16))
    weight = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "w"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = model.SerializeToString()
    if overlong:
        data = _with_overlong_key(model, weight, location)
    path = folder / "m.onnx"
    path.write_bytes(data)
    return path


def _with_overlong_key(model: onnx.ModelProto, weight: TensorProto, location: str) -> bytes:
    """The bytes of a model after the key of its external data was written in a longer form."""
    plain = b"\n\x08location\x12" + bytes([len(location)]) + location.encode()
    changed = plain.replace(b"\n\x08", b"\n\x88\x00")
    messages = [plain, *(m.SerializeToString() for m in (weight, model.graph, model))]
    # Each message holds the one before it after a tag and a length, which grow with it.
    tags = (0x6A, 0x2A, 0x3A)  # external_data, initializer, graph
    for inner, tag, outer in zip(messages[:-1], tags, messages[1:], strict=True):
        field = bytes([tag, len(inner)]) + inner
        changed = outer.replace(field, bytes([tag, len(changed)]) + changed)
    assert onnx.load_from_string(changed) == model
    return changed
