"""The memory of a search step."""

import torch
from torch.nn import functional as F

from midas.runs.memory import FEW, kept_bytes, step_bytes
from midas.search.arms import Arm
from midas.search.supernet import SearchCell, Supernet


def search_bytes(supernet: Supernet, arm: Arm, size: int, batch: int) -> int:
    """The most that a step of a search holds, from a pass of two images.

    Args:
        supernet: in any mode; it is left as it was.
        arm: how it is weighed.
        size: the images' side in pixels.
        batch: images of one pass: of a part, where a batch is divided.
    """
    weights, architecture = list(supernet.parameters()), list(arm.parameters())
    supernet.requires_grad_(True)
    arm.requires_grad_(True)
    device, kind = weights[0].device, weights[0].dtype
    images = torch.zeros(FEW, 3, size, size, device=device, dtype=kind).to(memory_format=torch.channels_last)
    labels = torch.zeros(FEW, dtype=torch.int64, device=device)
    checkpointing, supernet.checkpointing = supernet.checkpointing, False
    cells = [cell for cell in supernet.cells if isinstance(cell, SearchCell)] if checkpointing else []
    kept = kept_bytes(lambda: F.cross_entropy(supernet(images, arm)[0], labels), [*weights, *architecture], cells)
    supernet.checkpointing = checkpointing
    # a weight, its gradient and its momentum; a projection, its gradient and Adam's two
    states = 3 * sum(w.nbytes for w in weights) + 4 * sum(w.nbytes for w in architecture)
    return step_bytes(kept * batch // FEW, states, device, checkpointing)
