"""Distillation: beside the labels, a network learns the probabilities that a teacher gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.prepared import DataMeta
from midas.io import files
from midas.io.errors import MidasError, reason
from midas.nets.timm_models import CONFIG


@dataclass(frozen=True)
class Teacher:
    """A trained network of the same classes, with image size and normalisation of its own."""

    network: nn.Module  # in evaluation mode
    size: int  # side of its images in pixels
    scale: Tensor  # [3, 1, 1]: from the learner's normalised images to its own
    shift: Tensor
    temperature: float
    weight: float  # of its share in the loss, 0 to 1

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits [B, classes] for the learner's images [B, 3, H, W], augmented as they are."""
        own_images = images * self.scale.to(images) + self.shift.to(images)
        if images.shape[-1] != self.size:
            own_images = F.interpolate(own_images, size=self.size, mode="bilinear", antialias=True)
        answer: Tensor = self.network.to(images.device)(own_images)
        return answer

    def loss(self, label_loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """The learner's loss on the labels, and on the teacher's answers."""
        taught = distillation_loss(logits, self.logits(images), self.temperature)
        return (1 - self.weight) * label_loss + self.weight * taught


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """The mean divergence from the teacher's softened probabilities, times T^2.

    Source: Hinton et al., arXiv 1503.02531, section 2.
    """
    learned = F.log_softmax(logits / temperature, 1)
    expected = F.log_softmax(targets / temperature, 1)
    divergence = F.kl_div(learned, expected, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def load_teacher(folder: Path, meta: DataMeta, temperature: float, weight: float) -> Teacher:
    """The network of a model folder; MidasError where it does not load or has other classes."""
    try:
        config: dict[str, Any] = files.read_json(folder / CONFIG)
        classes = tuple(config["label_names"])
        image = config["pretrained_cfg"]
        mean, deviation = (torch.tensor(image[key]).view(3, 1, 1) for key in ("mean", "std"))
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except Exception as error:  # timm and the readers have no common class
        text = f"is no model folder that can be loaded ({reason(error)[:150]}); build it first"
        raise MidasError(f"teacher: {folder}: {text}") from error
    if classes != meta.classes:
        other = sorted(map(str, {*classes} ^ {*meta.classes}))[:3]
        text = f"has other classes ({len(classes)}, the data {len(meta.classes)}; {other})"
        raise MidasError(f"teacher: {folder}: {text}; it must have the data's, in their order")
    scale = torch.tensor(meta.std).view(3, 1, 1) / deviation
    shift = (torch.tensor(meta.mean).view(3, 1, 1) - mean) / deviation
    size = int(image["input_size"][1])
    return Teacher(network.requires_grad_(False), size, scale, shift, temperature, weight)
