"""Models of timm are trained by the recipe of the found cells, from new or from trained weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_train_loop import GENOTYPE, META, TRAIN, VAL
from torch import nn

from midas.data.prepared import DataMeta
from midas.io.errors import MidasError, ParamsError
from midas.nets import timm_models
from midas.train.config import TargetConfig, TimmTargetConfig
from midas.train.run import TrainResult, train
from midas.train.start import start_network

NAME = "mobilenetv3_small_050"
RECIPE = {"model": NAME, "epochs": 2, "batch_size": 16, "learning_rate": 0.05}
WIDE = replace(META, size=32)


def config(**changes: Any) -> TimmTargetConfig:
    return TimmTargetConfig(**{**RECIPE, "augment": {"flip": True}, **changes})


def start(meta: DataMeta = WIDE, **changes: Any) -> tuple[nn.Module, DataMeta]:
    return start_network(None, config(**changes), meta)


def trained(**changes: Any) -> TrainResult:
    network, meta = start(META, **changes)
    return train(network, config(**changes), TRAIN, VAL, meta)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Of a model with five classes."""
    torch.manual_seed(1)
    return dict(timm.create_model(NAME, num_classes=5).state_dict())


def saved(folder: Path, tensors: dict[str, torch.Tensor], form: str = "safetensors") -> str:
    path = folder / f"weights.{form}"
    save = save_file if form == "safetensors" else torch.save
    save(tensors, path)
    return str(path)


def test_a_training_is_the_same_every_time_and_says_what_it_trained() -> None:
    first = trained()
    again = trained()
    assert first.history == again.history
    assert all(torch.equal(again.last[name], tensor) for name, tensor in first.last.items())
    assert first.metrics["channels"] is None
    assert first.metrics["mean"] == list(META.mean)
    plain = timm.create_model(NAME, num_classes=2)
    assert first.metrics["parameters"] == sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("form", ["safetensors", "pth"])
@pytest.mark.parametrize("classes", [5, 2])
def test_weights_are_taken_and_a_classifier_of_other_classes_is_new(
    tmp_path: Path, weights: dict[str, torch.Tensor], form: str, classes: int
) -> None:
    meta = replace(WIDE, classes=tuple(map(str, range(classes))))
    network, used = start(meta, weights=saved(tmp_path, weights, form))
    state = network.state_dict()
    heads = ("classifier.weight", "classifier.bias")
    assert all(torch.equal(state[k], weights[k]) for k in weights if k not in heads)
    assert state["classifier.weight"].shape[0] == classes
    assert torch.equal(state["classifier.bias"], weights["classifier.bias"]) == (classes == 5)
    assert (used.mean, used.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_weights_in_the_same_order_under_other_names_are_taken(tmp_path: Path) -> None:
    torch.manual_seed(2)
    tensors = timm.create_model(NAME).state_dict()
    renamed = {f"{place:04}": tensor for place, tensor in enumerate(tensors.values())}
    state = start(weights=saved(tmp_path, renamed, "pth"))[0].state_dict()
    assert torch.equal(state["conv_stem.weight"], tensors["conv_stem.weight"])


def test_positions_of_a_transformer_are_fitted_to_the_images(tmp_path: Path) -> None:
    name = "test_vit"
    tensors = timm.create_model(name, num_classes=2).state_dict()
    network, _ = start(model=name, weights=saved(tmp_path, dict(tensors)))
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 2)
    assert network.pos_embed.shape != tensors["pos_embed"].shape


def test_weights_of_another_architecture_are_refused_by_their_tensors(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    path = saved(tmp_path, weights)
    with pytest.raises(MidasError, match=r"another .*: lacks conv1\.weight, .*, \.\.\.$"):
        start(model="resnet18", weights=path)
    with pytest.raises(MidasError, match=r"do not fit mobilenetv3_small_075 \(.*size mismatch"):
        start(model="mobilenetv3_small_075", weights=path)
    found = TargetConfig(channels=4, cells=2, weights=path)
    with pytest.raises(MidasError, match="another architecture: lacks cells"):
        start_network(GENOTYPE, found, META)


def test_a_pickle_of_more_than_tensors_and_a_missing_or_damaged_file_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "made",)

    torch.save({"a": Code()}, tmp_path / "evil.pth")
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"none")
    for name in ("evil.pth", "numbers.pth", "damaged.safetensors"):
        with pytest.raises(MidasError, match="cannot be read as tensors alone"):
            start(weights=str(tmp_path / name))
    assert not (tmp_path / "made").exists()
    with pytest.raises(MidasError, match="there is no such file; name a file"):
        start(weights=str(tmp_path / "absent.pth"))
    assert caplog.messages == []


def test_a_wrong_name_is_answered_by_the_nearest_ones() -> None:
    with pytest.raises(ParamsError, match=r"'resnet1' is not a model .* nearest names are resnet"):
        start(model="resnet1")
    with pytest.raises(ParamsError, match="not a model of timm"):
        timm_models.check_name("midas_network")


def test_what_a_model_cannot_be_built_with_is_said() -> None:
    with pytest.raises(ParamsError, match=r"cannot be built for 32 pixels with .*drop_path_rate"):
        start(model="vgg11", drop_path=0.1)
    with pytest.raises(ValueError, match="cells is for the found cell"):
        config(cells=3)


def test_what_downloads_is_refused_offline_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no way to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(timm_models, "load_model_config_from_hf", offline)
    for source in ("timm", "hf-hub:someone/something"):
        with pytest.raises(MidasError, match=r"no way to the hub.*name its path") as raised:
            start(weights=source)
        assert "\n" not in str(raised.value)


def test_a_hub_model_of_another_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def described(name: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
        assert name == "a/b"
        return {}, "resnet18", {}

    monkeypatch.setattr(timm_models, "load_model_config_from_hf", described)
    with pytest.raises(ParamsError, match="is a resnet18, and model says mobilenetv3_small_050"):
        start(weights="hf-hub:a/b")
