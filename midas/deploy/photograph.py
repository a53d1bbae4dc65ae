"""The part of a graph that takes a photograph: scale, crop, and nothing that a client must know."""

from typing import Any

import onnx
from onnx import compose, parser

# Pillow's filter, which the training images passed through: a triangle that is as wide as the
# scale asks for (`antialias`) and is cut at the border (`exclude_outside`). On uint8 onnxruntime
# rounds between the two directions as Pillow does.
_GRAPH = """
<ir_version: {ir}, opset_import: ["": {opset}]>
photograph (uint8[batch, height, width, 3] image) => (uint8[batch, 3, {rows}, {columns}] pixels) {{
  planes = Transpose <perm = [0, 3, 1, 2]> (image)
  outer = Shape <start = 0, end = 2> (planes)
  sides = Shape <start = 2> (planes)
  resize = Constant <value_ints = [{resize}]> ()
  crop = Constant <value_ints = [{rows}, {columns}]> ()
  two = Constant <value_float = 2.0> ()
  axes = Constant <value_ints = [2, 3]> ()
  shorter = ReduceMin <keepdims = 1> (sides)
  multiplied = Mul (sides, resize)
  scaled = Div (multiplied, shorter)
  sizes = Concat <axis = 0> (outer, scaled)
  resized = Resize <mode = "linear", antialias = 1, exclude_outside = 1> (planes, , , sizes)
  surplus = Sub (scaled, crop)
  surplus_float = Cast <to = 1> (surplus)
  half = Div (surplus_float, two)
  rounded = Round (half)
  start = Cast <to = 7> (rounded)
  end = Add (start, crop)
  pixels = Slice (resized, start, end, axes)
}}
"""


def take_photographs(proto: Any, resize: int, rows: int, columns: int, opset: int) -> Any:
    """A graph of pixels uint8 [N, 3, rows, columns] as one of images uint8 [N, H, W, 3].

    The shorter side becomes `resize` pixels, and the centre is cropped. Both graphs call the input
    `image`.
    """
    text = _GRAPH.format(
        ir=proto.ir_version, opset=opset, resize=resize, rows=rows, columns=columns
    )
    before = compose.add_prefix(parser.parse_model(text), "photograph_", rename_inputs=False)
    renamed = compose.add_prefix_graph(proto.graph, "network_", rename_outputs=False)
    network = onnx.ModelProto()
    network.CopyFrom(proto)
    network.graph.CopyFrom(renamed)
    merged = compose.merge_models(
        before, network, [("photograph_pixels", "network_image")], producer_name=proto.producer_name
    )
    del merged.opset_import[:]  # it names each opset twice, which onnxruntime's quantiser refuses
    merged.opset_import.extend(proto.opset_import)
    return merged
