"""A search computes on the device of its world, in the precision that it is told.

No GPU is needed to see where tensors lie: fake ones know their device and refuse others'. Their gradients cannot be taken
without one, as autograd asks for the device's streams.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from midas.data.prepared import DataMeta, Split
from midas.runs.world import World
from midas.search.arms import DiscreteArm
from midas.search.bilevel import build_search, run_search
from midas.search.config import SearchConfig
from midas.search.decode import decode, sample_weights
from midas.search.engine import Engine
from midas.search.halves import Halves
from midas.search.mixture import _map_gradients, _weight_gradient
from midas.search.topology import incidence
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


class Crossings(TorchDispatchMode):
    """Notes every operation that brings a tensor to another device, or a number out of one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        devices = {x.device for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor) and x.dim()}
        if len(devices) > 1 or func is torch.ops.aten._local_scalar_dense.default:
            self.seen.append(str(func))
        return result


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
def test_a_loss_is_computed_on_the_device_of_its_world(
    arm: str, space_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # where there is one: fake tensors cannot be pinned
    config = recipe(arm=arm)
    space = get_space(space_name).without(config.exclude)
    halves, built = Halves(split(), config), build_search(space, config, 2, seed=0)

    def losses(world: World) -> Engine:
        modules = [moved(module, world.device) for module in built]
        engine = Engine(space, *modules, config, halves, META, 0, world)
        draws, index = torch.Generator().manual_seed(0), torch.arange(16)
        for half in (halves.weights, halves.architecture):
            (part,) = engine._images(half, index, draws)
            engine._loss(part)  # what is kept on the device is brought there once
            with Crossings() as crossings:
                loss = engine._loss(part)
            assert {x.device for x in (*part, *loss)} == {world.device}
            assert crossings.seen == []  # a pass that waits for nobody can be recorded as a CUDA graph
        return engine

    here = losses(World())  # what is made once for all searches is made here, of tensors that are no fakes
    cell = decode(sample_weights(here.supernet, here.arm, [torch.zeros(4, 3, 8, 8)]), space)
    with FakeTensorMode(allow_non_fake_inputs=True):
        engine = losses(World(device=GPU))
        decoded = sample_weights(engine.supernet, engine.arm, [torch.zeros(4, 3, 8, 8)])
        assert {node.a.device.type for cells in decoded.values() for nodes in cells for node in nodes} == {"cpu"}
        engine.arm = DiscreteArm(cell.cells)
        with Crossings() as crossings:
            engine._loss((torch.zeros(4, 3, 8, 8, device=GPU), torch.zeros(4, dtype=torch.int64, device=GPU)))
        assert crossings.seen == []
    incidence.cache_clear()  # what it has of a fake device


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


@pytest.mark.parametrize("patch", [None, 4, 3])
def test_the_gradient_of_a_mixture_is_formed_where_the_maps_are(patch: int | None) -> None:
    with FakeTensorMode():
        maps = [torch.empty(2, 4, 8, 8, device=GPU).to(memory_format=torch.channels_last) for _ in range(3)]
        side = 1 if patch is None else -(-8 // patch)
        weights = torch.empty(2, side, side, 3, device=GPU)
        by_mean = torch.empty(3, 2, side, side, 4, device=GPU)
        with Crossings() as crossings:
            found = _map_gradients(maps[0], maps, weights, by_mean, patch, [True] * 3)
            found.append(_weight_gradient(maps[0], maps, weights, patch))
        assert [x.device for x in found if x is not None] == [GPU] * 4
        assert crossings.seen == []


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("arm", ["midas", "darts", "darts-pairs", "beta-darts", "gdas", "random"])
def test_only_an_arm_that_does_the_same_in_each_pass_is_recorded(arm: str) -> None:
    config, space = recipe(arm=arm), get_space("darts")
    supernet, built = build_search(space, config, 2, seed=0)
    passes = []
    for _ in range(4):
        with Operations() as operations:
            supernet(torch.zeros(2, 3, 8, 8), built)[0].sum().backward()
        passes.append(operations.seen)
    assert all(one == passes[1] for one in passes[1:]) == built.repeats
