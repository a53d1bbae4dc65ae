"""Loss and accuracy of a network on a split."""

import torch
from torch import nn
from torch.nn import functional as F

from midas.data.augment import normalise
from midas.data.batches import sequential_batches
from midas.data.prepared import DataMeta, Split

BATCH = 256  # images at a time: bounds memory, changes nothing else


@torch.no_grad()
def evaluate(network: nn.Module, split: Split, meta: DataMeta) -> tuple[float, float]:
    """The mean cross-entropy and the accuracy in [0, 1] of a network in evaluation mode; its mode is left as it was."""
    training = network.training
    network.eval()
    loss, hits = 0.0, 0
    for index in sequential_batches(len(split), BATCH):
        labels = split.labels[index]
        logits = network(normalise(split.images[index], meta.mean, meta.std))
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        hits += int((logits.argmax(1) == labels).sum())
    network.train(training)
    return loss / len(split), hits / len(split)
