"""An ONNX file of a few hundred bytes that `predict` takes for one of this project, made without a network."""

import json
from pathlib import Path

from onnx import TensorProto, helper

SIDE = 8


def tiny_onnx(path: Path, classes: tuple[str, str, str] = ("ant", "bee", "cat")) -> Path:
    """Write a file whose three logits are the means of the three channels."""
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["image"], ["mean"]), helper.make_node("Flatten", ["mean"], ["logits"])],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    image = {"size": [3, SIDE, SIDE], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "resize": SIDE}
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
