"""The auxiliary head takes part in the training, and is in no file that leaves it."""

import math
from pathlib import Path

import onnx
import timm
import torch
from model_folders import META, SMALL, split_of
from safetensors.torch import load_file

from midas.data.augment import normalise
from midas.deploy.export import ExportConfig
from midas.deploy.export_folder import ship
from midas.deploy.runtimes import run_onnx, run_torch
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network
from midas.zoo.model_folder import build_trained, save_model_folder

SIZE = {"channels": 4, "cells": 2, "skeleton": "cifar"}


def test_a_model_trained_with_the_head_ships_without_it_and_keeps_its_logits(
    tmp_path: Path,
) -> None:
    config = TargetConfig(**SIZE, epochs=1, batch_size=8, auxiliary_weight=0.4)
    network = initial_network(SMALL, config, len(META.classes))
    trained = train(network, config, split_of(32, seed=0), split_of(16, seed=1), META)
    assert loss_without_head(config) != trained.history[0]["train_loss"]
    folder = tmp_path / "small"
    model = build_trained(SMALL, trained.best, META, **SIZE)
    save_model_folder(folder, model, SMALL, META, "a card\n")
    ship(folder, ExportConfig(), split_of(40, seed=2), META, "1.2.3")

    images = normalise(split_of(8, seed=3).images, META.mean, META.std)
    expected = run_torch(network, images, 8)
    reloaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(run_torch(reloaded, images, 8), expected)
    torch.testing.assert_close(run_onnx(folder / "model.onnx", images, 8), expected)

    plain = sum(value.numel() for value in network.state_dict().values())
    assert sum(value.numel() for value in load_file(folder / "model.safetensors").values()) == plain
    weights = onnx.load(folder / "model.onnx").graph.initializer
    assert sum(math.prod(weight.dims) for weight in weights) <= plain
    reloaded.train()(images).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in reloaded.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None or not grad.any()] == []


def loss_without_head(config: TargetConfig) -> float:
    """The loss of the same training without the head."""
    config = config.model_copy(update={"auxiliary_weight": 0.0})
    network = initial_network(SMALL, config, len(META.classes))
    result = train(network, config, split_of(32, seed=0), split_of(16, seed=1), META)
    return float(result.history[0]["train_loss"])
