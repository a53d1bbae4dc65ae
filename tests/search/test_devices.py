"""A search computes on the device of its world, in the precision that it is told.

No GPU is needed to see where tensors lie: fake ones know their device and refuse others'. Their gradients cannot be taken
without one, as autograd asks for the device's streams.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from midas.data.prepared import DataMeta, Split
from midas.runs.world import World
from midas.search.bilevel import build_search, run_search
from midas.search.config import SearchConfig
from midas.search.decode import sample_weights
from midas.search.engine import Engine
from midas.search.halves import Halves
from midas.spaces import get_space

GPU = torch.device("cuda", 0)
META = DataMeta(("dark", "light"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 64}, "0", "test", {}, 0)


def split() -> Split:
    labels = torch.arange(64) % 2
    noise = torch.randint(0, 150, (64, 8, 8, 3), generator=torch.Generator().manual_seed(0))
    return Split((noise + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8).permute(0, 3, 1, 2), labels)


def recipe(**changes) -> SearchConfig:
    small = {"channels": 4, "cells": 3, "epochs": 1, "batch_size": 16, "patch_size": 2, "monitor_images": 16}
    return SearchConfig(**{**small, "augment": {"pad": 1, "flip": True, "cutout": 2}, **changes})


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    """`module.to(device)`, which fake tensors cannot do (torch 2.14); of the values nothing is kept."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, old in held.items():
                if old is not None:
                    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device=device)
                    held[name] = nn.Parameter(new) if isinstance(old, nn.Parameter) else new
    return module


@pytest.mark.parametrize("arm", ["midas", "darts", "darts-pairs", "beta-darts"])
@pytest.mark.parametrize("space_name", ["darts", "nasbench201"])
def test_a_loss_is_computed_on_the_device_of_its_world(arm: str, space_name: str) -> None:
    config = recipe(arm=arm)
    space = get_space(space_name).without(config.exclude)
    halves, built = Halves(split(), config), build_search(space, config, 2, seed=0)

    def losses(world: World) -> Engine:
        modules = [moved(module, world.device) for module in built]
        engine = Engine(space, *modules, config, halves, META, 0, world)
        draws, index = torch.Generator().manual_seed(0), torch.arange(16)
        for half in (halves.weights, halves.architecture):
            (part,) = engine._images(half, index, draws)
            assert {x.device for x in (*part, *engine._loss(part))} == {world.device}
        return engine

    losses(World())  # what is made once for all searches is made here, of tensors that are no fakes
    with FakeTensorMode(allow_non_fake_inputs=True):
        engine = losses(World(device=GPU))
        decoded = sample_weights(engine.supernet, engine.arm, [torch.zeros(4, 3, 8, 8)])
        assert {node.a.device.type for cells in decoded.values() for nodes in cells for node in nodes} == {"cpu"}


@pytest.mark.parametrize("arm", ["midas", "darts"])
def test_fewer_bits_change_a_search_a_little(arm: str) -> None:
    rows = []
    for precision in ("float32", "tf32", "bfloat16"):
        result = run_search(get_space("darts"), recipe(arm=arm, precision=precision), split(), META, seed=0)
        assert {p.dtype for p in (*result.supernet.parameters(), *result.arm.parameters())} == {torch.float32}
        rows.append(result.history[-1]["weight_loss"])
    assert rows[0] == rows[1]  # a CPU does not know tf32
    assert rows[0] == pytest.approx(rows[2], rel=0.1)
    assert rows[0] != rows[2]
