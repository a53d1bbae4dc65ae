"""Loss and accuracy of a network on a split."""

import torch
from torch import nn
from torch.nn import functional as F

from midas.data.augment import normalise
from midas.data.batches import sequential_batches
from midas.data.prepared import DataMeta, Split
from midas.engine.distributed import Distributed, send

BATCH = 256  # images at a time: bounds memory, changes nothing else


@torch.no_grad()
def evaluate(
    network: nn.Module, split: Split, meta: DataMeta, distributed: Distributed | None = None
) -> tuple[float, float]:
    """The mean cross-entropy and the accuracy in [0, 1] of a network in evaluation mode.

    Its mode is left as it was. Several processes take batches in turn, each image once.
    """
    distributed = distributed or Distributed()
    weight = next(network.parameters())
    training = network.training
    network.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=weight.device)  # loss, hits
    for index in sequential_batches(len(split), BATCH)[distributed.rank :: distributed.size]:
        labels = send(split.labels[index], weight.device)
        images = normalise(send(split.images[index], weight.device), meta.mean, meta.std)
        logits = network(images.to(weight.dtype))
        sums[0] += F.cross_entropy(logits, labels, reduction="sum")
        sums[1] += (logits.argmax(1) == labels).sum()
    network.train(training)
    loss, hits = (distributed.all_reduce_sum(sums) / len(split)).tolist()
    return loss, hits
