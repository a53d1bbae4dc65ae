"""The registered models behave as timm's own do."""

import pytest
import timm
import torch

import midas.nets
from midas.nets.registry import MODELS, ZOO

NAMES = timm.list_models("midas*")
SMALL = {"channels": 4, "cells": 2, "num_classes": 5}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def images(name: str) -> torch.Tensor:
    return torch.randn(2, 3, 64, 64) if name.endswith("imagenet") else torch.randn(2, 3, 16, 16)


def test_the_zoo_is_registered() -> None:
    assert set(NAMES) == {*MODELS, "midas_network"}
    assert {"midas_darts_v2_cifar", "midas_darts_v2_imagenet", "midas_nb201_best"} <= set(NAMES)


def test_every_zoo_entry_says_where_it_comes_from() -> None:
    for entry in ZOO.values():
        assert entry["origin"].startswith("https://")
        assert entry["paper"].startswith("arXiv ")
        assert entry["licence"]


def test_forward_is_features_then_head(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL).eval()
    features = model.forward_features(images)
    hidden = model.forward_head(features, pre_logits=True)
    assert features.shape[:2] == (2, model.num_features)
    assert hidden.shape == (2, model.head_hidden_size)
    torch.testing.assert_close(model(images), model.get_classifier()(hidden))


def test_the_classifier_can_be_replaced_and_left_out(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL)
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(images).shape == (2, 7)
    model.reset_classifier(0)
    assert model(images).shape == (2, model.num_features)
    model.reset_classifier(0, "")
    assert model(images).shape == model.forward_features(images).shape


def test_features_of_every_map_size_are_had_by_hooks(name: str, images: torch.Tensor) -> None:
    backbone = timm.create_model(name, channels=4, cells=2, features_only=True)
    maps = backbone(images)
    assert len(maps) == (4 if name.endswith("imagenet") else 3)
    for features, channels, reduction in zip(
        maps, backbone.feature_info.channels(), backbone.feature_info.reduction(), strict=True
    ):
        assert features.shape == (2, channels, images.shape[2] // reduction, images.shape[3] // reduction)


def test_other_image_channels(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, in_chans=1, **SMALL)
    assert model(images[:, :1]).shape == (2, 5)


def test_parameters_are_grouped_by_depth(name: str) -> None:
    from timm.models import group_parameters

    model = timm.create_model(name, **SMALL)
    groups = group_parameters(model, model.group_matcher())
    assert sum(len(group) for group in groups.values()) == len(list(model.parameters()))
    assert len(groups) >= 2 + 2


def test_the_configuration_names_layers_that_exist(name: str) -> None:
    model = timm.create_model(name, **SMALL)
    cfg = model.default_cfg
    assert model.get_submodule(cfg["first_conv"]).in_channels == 3
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert cfg["architecture"] == name


def test_dropout_and_drop_path_are_arguments(name: str) -> None:
    model = timm.create_model(name, drop_rate=0.2, drop_path_rate=0.1, **SMALL)
    assert (model.drop_rate, model.head_drop.p, model.drop_path_rate) == (0.2, 0.2, 0.1)


def test_importing_the_room_registers(name: str) -> None:
    assert timm.is_model(name)
    assert midas.nets.registry is not None
