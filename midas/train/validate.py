"""Loss and accuracy of a network on a split."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from midas.data.augment import normalise
from midas.data.batches import sequential_batches
from midas.data.prepared import DataMeta, Split
from midas.engine.distributed import ALONE, Distributed, send

BATCH = 256  # images at a time: bounds memory, changes nothing else


class Validation(NamedTuple):
    """What a network does on a split."""

    loss: float  # mean cross-entropy in nats
    accuracy: float  # in [0, 1]
    balanced_accuracy: float  # the mean over the classes that the split has


@torch.no_grad()
def evaluate(
    network: nn.Module, split: Split, meta: DataMeta, distributed: Distributed = ALONE
) -> Validation:
    """The loss and accuracies in evaluation mode; processes take batches in turn."""
    weight = next(network.parameters())
    training = network.training
    network.eval()
    classes = len(meta.classes)
    sums = torch.zeros(1 + 2 * classes, dtype=torch.float64, device=weight.device)
    loss, hits, counts = sums.split([1, classes, classes])  # views
    for index in sequential_batches(len(split), BATCH)[distributed.rank :: distributed.size]:
        labels = send(split.labels[index], weight.device)
        images = normalise(send(split.images[index], weight.device), meta.mean, meta.std)
        logits = network(images.to(weight.dtype))
        loss += F.cross_entropy(logits, labels, reduction="sum")
        hits += labels[logits.argmax(1) == labels].bincount(minlength=classes)
        counts += labels.bincount(minlength=classes)
    network.train(training)
    distributed.all_reduce_sum(sums)
    recalls = hits[counts > 0] / counts[counts > 0]
    total = len(split)
    return Validation(loss.item() / total, hits.sum().item() / total, recalls.mean().item())
