"""A model folder holds the trained network and its description, in the same bytes every time."""

import json
from pathlib import Path

import pytest
import timm
import torch

from midas.data.prepared import DataMeta
from midas.genotype import Genotype, save_genotype
from midas.io.errors import ModelFolderError
from midas.nets.build import build_network
from midas.zoo.card import model_card
from midas.zoo.model_folder import build_trained, open_model_folder, save_model_folder
from midas.zoo.registry import ZOO

GENOTYPE = Genotype.from_value(ZOO["darts_v2"]["genotype"])
SIZE = {"channels": 4, "cells": 2, "skeleton": "cifar"}
META = DataMeta(
    classes=("ant", "bee", "c|at"),
    size=16,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    counts={"train": 1000, "val": 200},
    fingerprint="f00d",
    source="folder",
    resize={"resize": 16, "interpolation": "bilinear", "crop": "center"},
    duplicates=0,
)


def write(folder: Path) -> torch.nn.Module:
    """A folder of an untrained network whose batch norm has seen images."""
    torch.manual_seed(0)
    network = build_network(GENOTYPE, num_classes=3, **SIZE)
    network.to(memory_format=torch.channels_last)
    network(torch.randn(8, 3, 16, 16))
    model = build_trained(GENOTYPE, network.state_dict(), META, **SIZE)
    metrics = {"best_val_accuracy": 0.75, "best_epoch": 2, "epochs": 3}
    card = model_card(
        folder.name, model, GENOTYPE, META, metrics, {"seeds": [0, 1], "data_fingerprint": "f00d"}
    )
    save_model_folder(folder, model, GENOTYPE, META, card)
    return network.eval().to(memory_format=torch.contiguous_format)  # as timm loads it


def test_the_card_says_what_the_training_started_from() -> None:
    network = build_trained(
        GENOTYPE, build_network(GENOTYPE, num_classes=3, **SIZE).state_dict(), META, **SIZE
    )
    metrics = {"best_val_accuracy": 0.75, "best_epoch": 2, "epochs": 3}
    cards = [
        model_card("bugs", network, GENOTYPE, META, metrics, {"training": {"weights": start}})
        for start in (None, "elsewhere/model.safetensors")
    ]
    assert "was trained from scratch." in cards[0]
    assert "was trained further, starting from the weights in `model.safetensors`." in cards[1]
    assert "elsewhere" not in cards[1]


def test_timm_loads_the_folder_to_the_same_logits(tmp_path: Path) -> None:
    network = write(tmp_path / "bugs")
    model = timm.create_model(f"local-dir:{tmp_path / 'bugs'}", pretrained=True).eval()
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images), network(images))
    assert torch.equal(open_model_folder(tmp_path / "bugs")[0](images), network(images))


def test_the_configuration_carries_classes_and_preprocessing(tmp_path: Path) -> None:
    write(tmp_path / "bugs")
    model = timm.create_model(f"local-dir:{tmp_path / 'bugs'}", pretrained=True)
    assert list(model.pretrained_cfg["label_names"]) == ["ant", "bee", "c|at"]
    data = timm.data.resolve_model_data_config(model)
    assert data["input_size"] == (3, 16, 16)
    assert (tuple(data["mean"]), tuple(data["std"])) == (META.mean, META.std)
    assert (data["crop_pct"], data["interpolation"]) == (1.0, "bilinear")


def test_a_folder_can_be_fine_tuned_to_other_classes(tmp_path: Path) -> None:
    write(tmp_path / "bugs")
    model = timm.create_model(f"local-dir:{tmp_path / 'bugs'}", pretrained=True, num_classes=9)
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 9)


def test_the_same_model_gives_the_same_bytes_without_paths(tmp_path: Path) -> None:
    first = tmp_path / "first" / "bugs"
    second = tmp_path / "second" / "bugs"
    write(first)
    write(second)
    names = sorted(path.name for path in first.iterdir())
    assert names == ["README.md", "config.json", "genotype.json", "model.safetensors"]
    for name in names:
        data = (first / name).read_bytes()
        assert data == (second / name).read_bytes()
        assert b"/tmp" not in data
        assert str(tmp_path).encode() not in data


def test_the_card_describes_classes_data_accuracy_and_use(tmp_path: Path) -> None:
    write(tmp_path / "bugs")
    card = (tmp_path / "bugs" / "README.md").read_text()
    for words in (
        "# bugs",
        "ant, bee, c\\|at",
        "0.7500",
        "f00d",
        GENOTYPE.hash,
        "1,000 train images",
        "local-dir:models/bugs",
    ):
        assert words in card
    assert '"seeds"' in card


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "genotype.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelFolderError, match=name):
        open_model_folder(tmp_path)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"]["channels"] = 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="do not fit"):
        open_model_folder(tmp_path)


def test_a_genotype_of_another_cell_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    save_genotype(tmp_path / "genotype.json", Genotype.from_value(ZOO["darts_v1"]["genotype"]))
    with pytest.raises(ModelFolderError, match="different genotypes"):
        open_model_folder(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "genotype.json"])
def test_a_damaged_file_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelFolderError) as error:
        open_model_folder(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_of_another_genotype_are_refused() -> None:
    network = build_network(GENOTYPE, num_classes=3, channels=8, cells=2)
    with pytest.raises(ModelFolderError, match="the trained weights do not fit"):
        build_trained(GENOTYPE, network.state_dict(), META, **SIZE)
