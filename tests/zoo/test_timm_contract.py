"""The registered models behave as timm's own models do."""

import subprocess
import sys

import pytest
import timm
import torch

from midas.zoo.registry import MODELS, ZOO

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
        assert entry["origin"].startswith("https://") or entry["provenance"]["seeds"], (
            "published, or found here"
        )
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


def test_hooks_return_features_of_every_map_size(name: str, images: torch.Tensor) -> None:
    backbone = timm.create_model(name, channels=4, cells=2, features_only=True)
    maps = backbone(images)
    assert len(maps) == (4 if name.endswith("imagenet") else 3)
    for features, channels, reduction in zip(
        maps, backbone.feature_info.channels(), backbone.feature_info.reduction(), strict=True
    ):
        assert features.shape == (
            2,
            channels,
            images.shape[2] // reduction,
            images.shape[3] // reduction,
        )


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


def test_importing_midas_registers_the_models() -> None:
    code = (
        "import timm; assert not timm.list_models('midas*')\n"
        "import midas; print(*timm.list_models('midas*'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == NAMES


def test_the_last_map_of_each_size_is_an_intermediate(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL).eval()
    features, maps = model.forward_intermediates(images)
    torch.testing.assert_close(features, model.forward_features(images))
    assert [m.shape[1] for m in maps] == [info["num_chs"] for info in model.feature_info]
    assert [images.shape[2] // m.shape[2] for m in maps] == [
        info["reduction"] for info in model.feature_info
    ]
    (first,) = model.forward_intermediates(
        images, indices=[0], stop_early=True, intermediates_only=True
    )
    torch.testing.assert_close(first, maps[0])
    (last,) = model.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
    torch.testing.assert_close(last, features)
    _, (again,) = model.forward_intermediates(images, indices=[0], stop_early=True)
    torch.testing.assert_close(again, maps[0])
    with pytest.raises(ValueError, match="NCHW"):
        model.forward_intermediates(images, output_fmt="NLC")


def test_a_pruned_network_gives_the_same_intermediates(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL).eval()
    maps = model.forward_intermediates(images, indices=[0, 1], intermediates_only=True)
    whole = sum(p.numel() for p in model.parameters())
    assert model.prune_intermediate_layers([0, 1], prune_norm=True) == [0, 1]
    assert sum(p.numel() for p in model.parameters()) < whole
    torch.testing.assert_close(
        model.forward_intermediates(images, indices=[0, 1], intermediates_only=True), maps
    )
    shorter = timm.create_model(name, **SMALL).eval()
    shorter.prune_intermediate_layers([0])
    features, _ = shorter.forward_intermediates(images, [0])
    torch.testing.assert_close(shorter.forward_features(images), features)


def test_getters_and_hooks_return_the_same_features(name: str, images: torch.Tensor) -> None:
    backbones = []
    for kind in ("hook", "getter"):
        torch.manual_seed(0)
        made = timm.create_model(name, channels=4, cells=2, features_only=True, feature_cls=kind)
        backbones.append(made.eval())
    torch.testing.assert_close(list(backbones[1](images)), list(backbones[0](images)))


def test_every_parameter_has_a_gradient(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL)
    model(images).mean().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def test_gradient_checkpointing_changes_nothing(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL)
    expected = model(images)
    model.set_grad_checkpointing()
    torch.testing.assert_close(model(images), expected)


def test_any_size_that_the_strides_allow(name: str, images: torch.Tensor) -> None:
    model = timm.create_model(name, **SMALL).eval()
    height, width = images.shape[2:]
    assert model(torch.randn(1, 3, height + 7, 2 * width)).shape == (1, 5)


def test_timms_fx_tracing_gives_the_same_logits(name: str, images: torch.Tensor) -> None:
    from timm.models import get_notrace_functions, get_notrace_modules
    from torchvision.models.feature_extraction import create_feature_extractor

    model = timm.create_model(name, **SMALL).eval()
    arguments = {
        "leaf_modules": list(get_notrace_modules()),
        "autowrap_functions": list(get_notrace_functions()),
    }
    traced = create_feature_extractor(model, ["classifier"], tracer_kwargs=arguments)
    assert torch.equal(traced(images)["classifier"], model(images))


@pytest.mark.parametrize("kind", ["darts_v2_cifar", "darts_v2_imagenet", "nb201_best"])
class TestCompilers:
    """Tests that take seconds, for one model of each skeleton."""

    def model(self, kind: str) -> tuple[torch.nn.Module, torch.Tensor]:
        side = 64 if kind.endswith("imagenet") else 16
        return timm.create_model(f"midas_{kind}", **SMALL).eval(), torch.randn(2, 3, side, side)

    @pytest.mark.filterwarnings(
        "ignore:.*torch.jit:FutureWarning", "ignore:The TorchScript type system:UserWarning"
    )
    def test_torchscript(self, kind: str) -> None:
        model, images = self.model(kind)
        torch.testing.assert_close(torch.jit.script(model)(images), model(images))

    def test_torch_export(self, kind: str) -> None:
        model, images = self.model(kind)
        program = torch.export.export(
            model, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        torch.testing.assert_close(
            program.module()(images[:1].repeat(5, 1, 1, 1)), model(images[:1]).repeat(5, 1)
        )

    @pytest.mark.slow
    def test_torch_compile(self, kind: str) -> None:
        model, images = self.model(kind)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images), model(images))
