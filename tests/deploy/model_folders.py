"""Small data and model folders as the earlier stages leave them."""

import json
from pathlib import Path

import onnx
import torch
from small_models import SIZE

from midas.data.prepared import DataMeta, Split
from midas.genotype import CellGenotype, Edge, Genotype
from midas.nets.build import build_network
from midas.zoo.model_folder import build_trained, save_model_folder

_NORMAL = (Edge("sep_conv_3x3", 0, 2), Edge("skip_connect", 1, 2))
_REDUCE = (Edge("max_pool_3x3", 0, 2), Edge("skip_connect", 1, 2))
SMALL = Genotype(
    "darts", {"normal": CellGenotype(_NORMAL, (2,)), "reduce": CellGenotype(_REDUCE, (2,))}
)
CLASSES = ("ash", "birch", "cedar — café")
META = DataMeta(
    classes=CLASSES,
    size=SIZE,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
    counts={"train": 8, "val": 40, "test": 40},
    fingerprint="f" * 64,
    source="npz",
    resize={"resize": SIZE, "interpolation": "bilinear", "crop": "center"},
    duplicates=0,
)


def split_of(count: int, seed: int) -> Split:
    """A split of random pixels and labels."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=generator)
    return Split(
        pixels.permute(0, 3, 1, 2), torch.randint(0, len(CLASSES), (count,), generator=generator)
    )


def write_model_folder(folder: Path, seed: int = 0) -> Path:
    """A model folder as the build stage writes it, of a small network with random weights."""
    torch.manual_seed(seed)
    fresh = build_network(SMALL, num_classes=len(CLASSES), channels=4, cells=2)
    model = build_trained(SMALL, fresh.state_dict(), META, channels=4, cells=2, skeleton="cifar")
    save_model_folder(folder, model, SMALL, META, "a card\n")
    return folder


def edit_json(path: Path, **changes: object) -> None:
    """Change top-level keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def point_outside(path: Path, location: str) -> None:
    """Move the first weights of an ONNX file to another file, at `location`."""
    proto = onnx.load(path)
    tensor = proto.graph.initializer[0]
    (path.parent / location).write_bytes(onnx.numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(proto.SerializeToString())
