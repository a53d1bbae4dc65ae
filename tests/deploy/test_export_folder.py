"""What the export stage leaves in a model folder, and that nothing unproved is left there."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from model_folders import CLASSES, META, edit_json, split_of, write_model_folder
from torch import nn

from midas.data.augment import normalise
from midas.deploy import export_folder as ship_module
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import ship
from midas.deploy.runtimes import ParityError, run_onnx, run_torch
from midas.io.errors import ModelFolderError
from midas.zoo.model_folder import open_model_folder


@pytest.fixture
def folder(shipped: Path, tmp_path: Path) -> Path:
    """A copy of the shipped folder that may be changed."""
    return Path(shutil.copytree(shipped, tmp_path / "small"))


def test_a_shipped_folder_holds_model_proof_and_program(shipped: Path) -> None:
    names = {
        "config.json",
        "genotype.json",
        "model.safetensors",
        "README.md",
        "model.onnx",
        "parity.json",
        "predict.py",
        "variants",
    }
    assert {path.name for path in shipped.iterdir()} == names
    parity = json.loads((shipped / "parity.json").read_text())
    assert (parity["images"], parity["class_agreement"]) == (40, 1)
    assert str(shipped) not in (shipped / "parity.json").read_text()
    assert (shipped / "predict.py").read_bytes() == Path(ship_module.predict.__file__).read_bytes()


def test_timm_and_onnxruntime_give_the_same_logits(shipped: Path) -> None:
    images = normalise(split_of(8, seed=5).images, META.mean, META.std)
    model = timm.create_model(f"local-dir:{shipped}", pretrained=True).eval()
    torch.testing.assert_close(
        run_onnx(shipped / "model.onnx", images, 8), run_torch(model, images, 8)
    )


def test_shipping_again_gives_the_same_bytes(folder: Path, shipped: Path) -> None:
    ship(folder, ExportConfig(), split_of(40, seed=1), META, "1.2.3")
    for path in filter(Path.is_file, shipped.iterdir()):
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_file_that_is_not_equal_is_not_left_in_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another_network(model: nn.Module, *args: object, **kwargs: object) -> None:
        with torch.no_grad():
            model.get_parameter("classifier.bias").add_(torch.tensor([1.0, 0.0, 0.0]))
        export(model, *args, **kwargs)
        with torch.no_grad():
            model.get_parameter("classifier.bias").sub_(torch.tensor([1.0, 0.0, 0.0]))

    export = ship_module.export_onnx
    monkeypatch.setattr(ship_module, "export_onnx", another_network)
    with pytest.raises(ParityError):
        ship(folder, ExportConfig(), split_of(8, seed=1), META, "1.2.3")
    left = {path.name for path in folder.iterdir()}
    assert left == {"config.json", "genotype.json", "model.safetensors", "README.md", "predict.py"}


def test_a_folder_opens_in_evaluation_mode_with_its_configuration(shipped: Path) -> None:
    model, config = open_model_folder(shipped)
    assert not any(module.training for module in model.modules())
    assert tuple(config["label_names"]) == CLASSES


@pytest.mark.parametrize("name", ["genotype.json", "config.json", "model.safetensors"])
def test_a_missing_file_is_named_with_the_stage_that_makes_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=rf"{name} is missing; run the build stage"):
        open_model_folder(folder)


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit_json(folder / "config.json", model_args={**config["model_args"], "channels": 8})
    with pytest.raises(ModelFolderError, match="do not fit"):
        open_model_folder(folder)


def test_a_genotype_that_differs_from_the_configuration_is_refused(folder: Path) -> None:
    text = (folder / "genotype.json").read_text()
    (folder / "genotype.json").write_text(text.replace("sep_conv_3x3", "dil_conv_3x3"))
    with pytest.raises(ModelFolderError, match="different genotypes"):
        open_model_folder(folder)


@pytest.mark.parametrize("damage", [b"", b"\0" * 64])
def test_damaged_weights_are_reported_in_one_line(folder: Path, damage: bytes) -> None:
    (folder / "model.safetensors").write_bytes(damage)
    with pytest.raises(ModelFolderError) as caught:
        open_model_folder(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("label_names", ["one"], "has 1 label_names for 3 classes"),
        ("label_names", None, "label_names"),
        ("pretrained_cfg", {"num_classes": 3}, r"pretrained_cfg\.input_size"),
    ],
)
def test_a_configuration_edited_by_hand_is_refused_with_the_key(
    folder: Path, key: str, value: object, message: str
) -> None:
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(ModelFolderError, match=message):
        open_model_folder(folder)


def test_a_model_of_other_data_is_refused(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "small")
    config = json.loads((folder / "config.json").read_text())
    edit_json(
        folder / "config.json", pretrained_cfg={**config["pretrained_cfg"], "mean": [0, 0, 0]}
    )
    with pytest.raises(ModelFolderError, match="mean is not that of the prepared data"):
        ship(folder, ExportConfig(), split_of(8, seed=1), META, "1.2.3")
