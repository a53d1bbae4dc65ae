"""Logits shrink where the features of an image are unlike those of every class."""

from pathlib import Path

import pytest
import torch
from model_folders import META, split_of, write_model_folder
from torch import Tensor, nn

from midas.data.augment import normalise
from midas.deploy.export import ExportConfig, read_metadata
from midas.deploy.export_folder import ship
from midas.deploy.familiarity import LEAST, Familiar, fit_familiarity, read_familiarity
from midas.deploy.runtimes import run_onnx, run_torch
from midas.io.errors import ExportError
from midas.zoo.model_folder import open_model_folder

REJECT = ExportConfig(reject={"error": 0.9})


class Colours(nn.Module):
    """A classifier whose features are the mean colour and whose logits are ten times these."""

    def forward_features(self, images: Tensor) -> Tensor:
        return images

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        features = maps.mean((2, 3))
        return features if pre_logits else 10 * features


def coloured(*colours: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colours)[:, :, None, None].expand(-1, 3, 4, 4)


def test_an_image_like_a_class_keeps_its_logits_and_one_unlike_all_loses_them() -> None:
    training = coloured((1, 0, 0), (0.8, 0, 0), (0, 1, 0), (0, 0.8, 0), (0, 0, 1), (0, 0, 0.8))
    familiar = fit_familiarity(Colours(), [training[:4], training[4:]], [training])
    assert torch.allclose(familiar(training), Colours().forward_head(training), rtol=1e-3)
    other = coloured((0.9, 0.9, -0.9))
    plain = Colours().forward_head(other)
    assert bool((familiar(other).abs() < 0.75 * plain.abs()).all())
    black = coloured((-1.0, -1.0, -1.0))
    assert torch.allclose(familiar(black), LEAST**2 * Colours().forward_head(black))


@torch.no_grad()
def test_the_factor_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    network, _ = open_model_folder(write_model_folder(tmp_path / "small"))
    images = normalise(split_of(60, seed=1).images, META.mean, META.std)
    familiar = fit_familiarity(network, images[:40].split(16), images[40:].split(7))
    features = network.forward_head(network.forward_features(images), pre_logits=True)
    logits = run_torch(network, images, 64)
    centre = features[:40].mean(0)
    cosines = torch.full((60, logits.shape[1]), -1.0)
    for label in range(logits.shape[1]):
        rows = [k for k in range(40) if int(logits[k].argmax()) == label]
        if rows:
            direction = features[rows].mean(0) - centre
            for k in range(60):
                cosines[k, label] = torch.cosine_similarity(features[k] - centre, direction, 0)
    largest = cosines.max(1).values
    factor = (largest / max(LEAST, float(largest[40:].quantile(0.05)))).clamp(LEAST, 1) ** 2
    assert torch.allclose(familiar(images), logits * factor[:, None], rtol=0.01, atol=1e-3)
    assert torch.equal(familiar(images).argmax(1), logits.argmax(1))


def test_a_file_with_reject_is_proved_equal_to_the_network_that_its_metadata_describe(
    tmp_path: Path,
) -> None:
    folder = write_model_folder(tmp_path / "small")
    training = split_of(60, seed=3).images
    parity = ship(folder, REJECT, split_of(40, seed=1), META, "1.2.3", training)
    assert parity["class_agreement"] == 1
    network, _ = open_model_folder(folder)
    shipped = read_familiarity(network, read_metadata(folder / "model.onnx"))
    assert isinstance(shipped, Familiar)
    images = normalise(split_of(30, seed=5).images, META.mean, META.std)
    expected = run_torch(shipped, images, 8)
    assert torch.allclose(run_onnx(folder / "model.onnx", images, 8), expected, atol=1e-5)
    assert not torch.allclose(expected, run_torch(network, images, 8), atol=1e-3)


def test_reject_without_training_images_is_refused(tmp_path: Path) -> None:
    folder = write_model_folder(tmp_path / "small")
    with pytest.raises(ExportError, match="reject needs training images"):
        ship(folder, REJECT, split_of(40, seed=1), META, "1.2.3")


def test_a_file_without_reject_is_of_the_plain_network(shipped: Path) -> None:
    network, _ = open_model_folder(shipped)
    assert read_familiarity(network, read_metadata(shipped / "model.onnx")) is network
