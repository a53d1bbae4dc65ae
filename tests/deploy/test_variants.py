"""Files of lower precision: judged on the validation split, shipped only if they hold."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from model_folders import META, split_of, write_model_folder
from safetensors.torch import load_file, save_file

from midas.data.augment import normalise
from midas.data.prepared import Split
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import find_variants, ship
from midas.deploy.onnx_evaluation import evaluate
from midas.deploy.predict import load_model
from midas.deploy.runtimes import run_torch
from midas.deploy.variants import evenly_spaced
from midas.io.errors import ExportError
from midas.zoo.model_folder import open_model_folder

TRAINING = split_of(64, seed=3).images
BOTH = ExportConfig(variants=("fp16", "int8"), max_accuracy_loss=1.0, calibration_images=32)


def labelled(folder: Path, count: int) -> Split:
    """Random images labelled by the network itself, so that any other decision is a loss."""
    images = split_of(count, seed=1).images
    logits = run_torch(open_model_folder(folder)[0], normalise(images, META.mean, META.std), 64)
    return Split(images, logits.argmax(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with both variants; read only."""
    folder = write_model_folder(tmp_path_factory.mktemp("variants") / "small")
    ship(folder, BOTH, labelled(folder, 200), META, "1.2.3", TRAINING)
    return folder


def test_variants_have_lower_precision_and_the_same_metadata(folder: Path) -> None:
    paths = find_variants(folder)
    assert list(paths) == ["fp16", "int8"]
    whole = onnx.load(folder / "model.onnx")
    for path in paths.values():
        assert list(onnx.load(path).metadata_props) == list(whole.metadata_props)
        assert load_model(path).classes == load_model(folder / "model.onnx").classes
    types = {tensor.data_type for tensor in onnx.load(paths["fp16"]).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    operators = {node.op_type for node in onnx.load(paths["int8"]).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators


def test_parity_json_says_what_each_variant_loses(folder: Path) -> None:
    variants = json.loads((folder / "parity.json").read_text())["variants"]
    assert set(variants) == {"fp16", "int8"}
    for measured in variants.values():
        assert measured["shipped"] is True
        agreement = measured["class_agreement"]  # the labels are the network's own decisions
        assert measured["accuracy_loss"] == pytest.approx(1 - agreement)
    assert variants["fp16"]["accuracy_loss"] <= variants["int8"]["accuracy_loss"] < 0.5


def test_a_variant_that_loses_too_much_is_reported_and_not_shipped(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "small")
    strict = BOTH.model_copy(update={"max_accuracy_loss": 0.0, "variants": ("int8",)})
    parity = ship(folder, strict, labelled(folder, 2000), META, "1.2.3", TRAINING)
    assert parity["variants"]["int8"]["accuracy_loss"] > 0
    assert parity["variants"]["int8"]["shipped"] is False
    assert find_variants(folder) == {}
    assert (folder / "model.onnx").is_file()


def test_a_network_that_overflows_in_float16_gets_no_fp16_file(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "small")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.weight"] *= 1e7
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    parity = ship(
        folder, BOTH.model_copy(update={"variants": ("fp16",)}), labelled(folder, 8), META, "1.2.3"
    )
    assert parity["variants"]["fp16"]["finite"] is False
    assert parity["variants"]["fp16"]["shipped"] is False
    assert find_variants(folder) == {}


def test_a_later_export_without_variants_leaves_none(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "small"))
    ship(copy, ExportConfig(), labelled(copy, 8), META, "1.2.3")
    assert find_variants(copy) == {}


def test_the_evaluation_covers_every_shipped_variant(folder: Path) -> None:
    split = labelled(folder, 100)
    model = open_model_folder(folder)[0]
    paths = find_variants(folder)
    evaluation = evaluate(model, folder / "model.onnx", split, META, 1e-4, variants=paths)
    variants = evaluation.metrics["variants"]
    assert set(variants) == {"fp16", "int8"}
    for metrics in variants.values():  # the labels are the network's own decisions
        assert metrics["accuracy"] == metrics["class_agreement"] > 0.5


def test_int8_without_training_images_is_refused(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "small")
    with pytest.raises(ExportError, match="training images"):
        ship(folder, BOTH, labelled(folder, 8), META, "1.2.3")
    assert not (folder / "model.onnx").exists()


def test_calibration_images_are_spread_over_all() -> None:
    images = torch.arange(10).view(10, 1)
    assert evenly_spaced(images, 4).flatten().tolist() == [0, 3, 6, 9]
    assert evenly_spaced(images, 20).flatten().tolist() == list(range(10))


@pytest.mark.slow
def test_another_process_in_another_folder_writes_the_same_variants(
    folder: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom test_variants import *\n"
        "folder = write_model_folder(Path('elsewhere') / 'small')\n"
        "ship(folder, BOTH, labelled(folder, 200), META, '1.2.3', TRAINING)\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    for name in (
        "model.onnx",
        "variants/model.fp16.onnx",
        "variants/model.int8.onnx",
        "parity.json",
    ):
        assert (tmp_path / "elsewhere" / "small" / name).read_bytes() == (
            folder / name
        ).read_bytes(), name
