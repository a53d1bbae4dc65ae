"""The memory of a search step, and whether there is as much."""

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.runs.memory import FEW, kept_bytes, refuse_more, step_bytes
from midas.runs.world import World
from midas.search.arms import Arm
from midas.search.config import SearchConfig
from midas.search.halves import Halves
from midas.search.supernet import SearchCell, Supernet


def search_bytes(supernet: Supernet, arm: Arm, size: int, batch: int) -> int:
    """The most that a step of a search holds, from a pass of two images.

    Args:
        supernet: in any mode; its weights require gradients afterwards, as do the arm's.
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
    held = 0

    def forward() -> Tensor:
        nonlocal held
        logits, choices = supernet(images, arm)
        held = sum(t.nbytes for cell in choices for choice in cell for t in choice.tensors())
        return F.cross_entropy(logits, labels)

    kept = kept_bytes(forward, [*weights, *architecture], cells)
    # where cells are computed again, what their nodes answer is kept of all of them none the less
    kept += held if checkpointing else 0
    supernet.checkpointing = checkpointing
    # a weight, its gradient and its momentum; a projection, its gradient and Adam's two
    states = 3 * sum(w.nbytes for w in weights) + 4 * sum(w.nbytes for w in architecture)
    return step_bytes(kept * batch // FEW, states, device, checkpointing)


def check_memory(supernet: Supernet, arm: Arm, config: SearchConfig, halves: Halves, world: World, title: str) -> None:
    """Raise MidasError where a step of this search would hold more memory than is free."""
    batch, size = min(config.batch_size, len(halves.weights)), halves.weights.images.shape[-1]
    refuse_more(
        title,
        search_bytes(supernet, arm, size, batch // (world.size * config.accumulate)),
        next(supernet.parameters()).device,
        f"make search.batch_size ({batch}), channels ({config.channels}) or image_size ({size}) smaller, search.accumulate "
        f"({config.accumulate}) larger, or set search.checkpointing: true",
    )
