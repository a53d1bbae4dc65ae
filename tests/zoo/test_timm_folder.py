"""A model folder of a timm model is as complete as one of a found cell, and timm alone loads it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_model_folder import META
from torch import nn

from midas.data.prepared import Split
from midas.deploy import predict
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import ship
from midas.io.errors import ModelFolderError
from midas.nets import timm_models
from midas.zoo.card import model_card
from midas.zoo.model_folder import check_data, open_model_folder, save_model_folder, with_trained

OWN = replace(META, size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
DATA = replace(META, size=32)
LOAD = """
import sys, timm, torch
from safetensors.torch import load_file
model = timm.create_model(sys.argv[1], pretrained=True).eval()
images, expected = load_file(sys.argv[2]).values()
assert not [name for name in sys.modules if name.startswith("midas")]
assert torch.equal(model(images), expected)
"""


def write(folder: Path, name: str = "test_resnet") -> nn.Module:
    torch.manual_seed(0)
    trained = timm_models.create(name, 3, 32)
    model = with_trained(timm_models.create(name, 3, 32), trained.state_dict(), OWN)
    metrics = {"best_val_accuracy": 0.75, "best_epoch": 2, "epochs": 3}
    origin = {"training": {"model": name, "weights": "secret/lite0.pth"}}
    card = model_card(folder.name, model, None, OWN, metrics, origin)
    save_model_folder(folder, model, None, OWN, card, own_normalisation=True)
    return trained.eval()


def test_timm_alone_loads_the_folder_to_the_same_logits(tmp_path: Path) -> None:
    network = write(tmp_path / "vit", "test_vit")
    images = torch.randn(2, 3, 32, 32)
    values = {"a": images, "b": network(images).detach()}
    save_file(values, tmp_path / "values.safetensors")
    arguments = [f"local-dir:{tmp_path / 'vit'}", str(tmp_path / "values.safetensors")]
    subprocess.run([sys.executable, "-c", LOAD, *arguments], check=True, cwd=tmp_path)
    assert torch.equal(open_model_folder(tmp_path / "vit")[0](images), values["b"])


def test_the_normalisation_of_the_weights_goes_into_the_onnx_file_and_predict(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "small"
    write(folder)
    _, config = open_model_folder(folder)
    assert check_data(folder, config, DATA) == OWN
    with pytest.raises(ModelFolderError, match="mean is not that of the prepared data"):
        check_data(folder, {**config, "own_normalisation": False}, DATA)
    pixels = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8)
    split = Split(pixels, torch.arange(12) % 3)
    assert ship(folder, ExportConfig(), split, DATA, "1.0")["class_agreement"] == 1
    model = predict.load_model(folder / "model.onnx")
    assert (tuple(model.mean), tuple(model.std)) == (OWN.mean, OWN.std)


def test_the_card_names_the_model_and_what_it_started_from(tmp_path: Path) -> None:
    write(tmp_path / "small")
    card = (tmp_path / "small" / "README.md").read_text()
    assert "timm's model `test_resnet`" in card
    assert "starting from the weights in `lite0.pth`" in card
    assert "import midas" not in card
    assert "secret" not in card
    assert "0.5000, 0.5000, 0.5000" in card


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "test_resnett"},
        {"model_args": {"checkpoint_path": "elsewhere.pth"}},
        {"model_args": {"num_classes": 10**9}},
        {"model_args": {"img_size": [10**6, 10**6]}},
    ],
)
def test_a_folder_cannot_ask_for_what_the_pipeline_does_not_build(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    write(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ModelFolderError):
        open_model_folder(tmp_path)
