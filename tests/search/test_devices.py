"""A search computes on the device of its world. No GPU is needed to see it: fake tensors know their device, and refuse others'."""

import pytest
import torch
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


@pytest.mark.parametrize("arm", ["midas", "darts", "darts-pairs", "beta-darts"])
@pytest.mark.parametrize("space_name", ["darts", "nasbench201"])
def test_a_step_computes_on_the_device_of_its_world(arm: str, space_name: str) -> None:
    config = recipe(arm=arm)
    space = get_space(space_name).without(config.exclude)
    halves = Halves(split(), config)

    def steps(world: World) -> Engine:
        modules = [module.to(world.device) for module in build_search(space, config, 2, seed=0)]
        engine = Engine(space, *modules, config, halves, META, 0, world)
        draws, index = torch.Generator().manual_seed(0), torch.arange(16)
        batch, held_out = (engine._images(half, index, draws) for half in (halves.weights, halves.architecture))
        assert {x.device for part in batch for x in part} == {world.device}
        seen = [engine._architecture_step(engine.arch_optimiser, held_out, batch), engine._weight_step(batch)]
        assert [loss.device for loss in seen] == [world.device] * 2
        return engine

    steps(World())  # what is made once for all searches is made here, of tensors that are no fakes
    with FakeTensorMode(allow_non_fake_inputs=True):
        engine = steps(World(device=GPU))
        assert {p.device for p in (*engine.weights, *engine.architecture)} == {GPU}
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
