"""The memory of a training step, and whether there is as much."""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.runs.memory import FEW, kept_bytes, refuse_more, step_bytes
from midas.runs.world import World
from midas.train.config import TargetConfig
from midas.train.state import TrainState

COPIES = {"sgd": 3, "adamw": 4}  # of the weights: themselves, their gradients, the optimiser's states


def train_bytes(state: TrainState, config: TargetConfig, size: int, batch: int) -> int:
    """The most that a step of a training holds, from a pass of two images through a copy of the network.

    Args:
        state: before its first step; it is left as it was.
        config: the recipe.
        size: the images' side in pixels.
        batch: images of one pass: of a part, where a batch is divided.
    """
    network, auxiliary = copy.deepcopy(state.network).train(), copy.deepcopy(state.auxiliary)
    weight = next(network.parameters())
    images = torch.zeros(FEW, network.in_chans, size, size, device=weight.device, dtype=weight.dtype)
    labels = torch.zeros(FEW, dtype=torch.int64, device=weight.device)

    def loss() -> Tensor:
        features, auxiliary_features = network.forward_cells(images.to(memory_format=torch.channels_last))
        total = F.cross_entropy(network.forward_head(features), labels)
        return total if auxiliary is None else total + F.cross_entropy(auxiliary(auxiliary_features), labels)

    network.set_grad_checkpointing(False)
    parameters = [*network.parameters(), *(auxiliary.parameters() if auxiliary is not None else ())]
    kept = kept_bytes(loss, parameters, list(network.cells) if config.checkpointing else [])
    copies = COPIES[config.optimiser] + (config.ema is not None)
    states = copies * sum(p.nbytes for p in parameters)
    return step_bytes(kept * batch // FEW, states, weight.device, config.checkpointing)


def check_memory(state: TrainState, config: TargetConfig, size: int, world: World, title: str) -> None:
    """Raise MidasError where a step of this training would hold more memory than is free."""
    refuse_more(
        title,
        train_bytes(state, config, size, config.batch_size // (world.size * config.accumulate)),
        world.device,
        f"make batch_size ({config.batch_size}) or channels ({state.network.channels}) smaller, accumulate "
        f"({config.accumulate}) larger, or set checkpointing: true",
    )
