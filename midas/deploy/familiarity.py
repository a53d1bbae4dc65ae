"""Logits that shrink where an image is unlike all that a network has learned.

A network may be sure of an image of mere noise; its features tell more. The familiarity of an image
is the largest cosine between its features and the mean features of a class, both seen from the mean
of all. Where it is below `usual`, which 19 in 20 validation images exceed, the logits shrink by the
square of their ratio: no class changes, and the probabilities of few known images do.

Source: distances to class means in feature space, Lee et al., 2018, arXiv 1807.03888; cosine and
square are our choice.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

KEY = "midas_familiarity"  # in the metadata of a file
KNOWN_SHARE = 0.05  # of the validation images whose logits shrink
LEAST = 0.05  # ratio, so that no probability loses its order
IMAGES = 5000  # training images that the means are taken over


class Familiar(nn.Module):
    """A network whose logits shrink with the familiarity of the image.

    `means` float [1 + classes, features] holds the mean features, and unit vectors from there to
    the mean of each class.
    """

    means: Tensor

    def __init__(self, network: nn.Module, means: Tensor, usual: float) -> None:
        super().__init__()
        self.network = network
        self.usual = usual
        self.feature_info = getattr(network, "feature_info", [{"reduction": 1}])
        self.register_buffer("means", means)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] to logits [B, classes]."""
        network: Any = self.network
        maps = network.forward_features(images)
        features = network.forward_head(maps, pre_logits=True).flatten(1)
        ratio = (_cosines(features, self.means) / self.usual).clamp(LEAST, 1.0)
        logits: Tensor = network.forward_head(maps)
        return logits * ratio[:, None] ** 2

    def metadata(self) -> dict[str, str]:
        """The form in a file's metadata, from which `read_familiarity` makes it again."""
        means = self.means.numpy()
        text = base64.b64encode(means.astype("<f4").tobytes()).decode()
        return {KEY: json.dumps({"usual": self.usual, "shape": means.shape, "float32": text})}


def read_familiarity(network: nn.Module, metadata: Mapping[str, str]) -> nn.Module:
    """The network as a file with these metadata computes it."""
    if KEY not in metadata:
        return network
    value = json.loads(metadata[KEY])
    means = np.frombuffer(base64.b64decode(value["float32"]), "<f4").reshape(value["shape"])
    return Familiar(network, torch.from_numpy(means.astype(np.float32)), value["usual"]).eval()


@torch.inference_mode()
def fit_familiarity(
    network: nn.Module, training: Iterable[Tensor], validation: Iterable[Tensor]
) -> Familiar:
    """Measure the class means, by the network's own answers, on batches of normalised images.

    A class that it never answers has no direction, and no image is like it.
    """
    learned = [_run(network, batch) for batch in training]
    features = torch.cat([part for part, _ in learned])
    logits = torch.cat([part for _, part in learned])
    centre = features.mean(0)
    answers = logits.argmax(1)
    directions = torch.zeros(logits.shape[1], features.shape[1])
    for label in answers.unique().tolist():
        directions[label] = F.normalize(features[answers == label].mean(0) - centre, dim=0)
    means = torch.cat([centre[None], directions])
    known = torch.cat([_cosines(_run(network, batch)[0], means) for batch in validation])
    return Familiar(network, means, round(max(LEAST, float(known.quantile(KNOWN_SHARE))), 4)).eval()


def _run(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features [B, features] and logits [B, classes]."""
    maps = network.eval().forward_features(images.contiguous(memory_format=torch.channels_last))
    return network.forward_head(maps, pre_logits=True).flatten(1), network.forward_head(maps)


def _cosines(features: Tensor, means: Tensor) -> Tensor:
    """The largest cosine with any class, [B]."""
    return (F.normalize(features - means[0], dim=1) @ means[1:].T).amax(1)
