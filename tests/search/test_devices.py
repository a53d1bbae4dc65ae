"""A search computes on the device of its processes, in the precision that it is asked for.

No GPU is needed to see where tensors lie: fake ones know their device and refuse others'. Their
gradients cannot be taken without one, because autograd asks for the device's streams.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from midas.data.prepared import DataMeta, Split
from midas.decode.decode import decode, sample_weights
from midas.engine.distributed import Distributed
from midas.search.bilevel import BilevelSearch, BilevelSplit
from midas.search.config import SearchConfig
from midas.search.edge_pairs import incidence
from midas.search.methods import FixedCell
from midas.search.run import build_search, run_search
from midas.spaces import get_space

GPU = torch.device("cuda", 0)
META = DataMeta(("dark", "light"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 64}, "0", "test", {}, 0)


def dark_and_light() -> Split:
    labels = torch.arange(64) % 2
    noise = torch.randint(0, 150, (64, 8, 8, 3), generator=torch.Generator().manual_seed(0))
    images = (noise + 100 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return Split(images.permute(0, 3, 1, 2), labels)


def recipe(**changes: Any) -> SearchConfig:
    small = {
        "channels": 4,
        "cells": 3,
        "epochs": 1,
        "batch_size": 16,
        "patch_size": 2,
        "augment": {"pad": 1, "flip": True, "cutout": 2},
    }
    return SearchConfig(**{**small, **changes})


class Crossings(TorchDispatchMode):
    """Notes every operation that moves a tensor to another device, or reads a number out of one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        devices = {
            x.device
            for x in tree_leaves((args, kwargs, result))
            if isinstance(x, torch.Tensor) and x.dim()
        }
        if len(devices) > 1 or func is torch.ops.aten._local_scalar_dense.default:
            self.seen.append(str(func))
        return result


def moved(module: nn.Module, device: torch.device) -> nn.Module:
    """`module.to(device)` without the values. Fake tensors cannot do it themselves (torch 2.14)."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, old in tensors.items():
                if old is not None:
                    new = torch.empty_strided(
                        old.shape, old.stride(), dtype=old.dtype, device=device
                    )
                    tensors[name] = nn.Parameter(new) if isinstance(old, nn.Parameter) else new
    return module


def loss_of(search: BilevelSearch, images: Tensor, labels: Tensor) -> Tensor:
    logits, _ = search.supernet(images, search.method)
    return F.cross_entropy(logits, labels)


@pytest.mark.parametrize("method_name", ["midas", "darts", "darts-pairs", "beta-darts"])
@pytest.mark.parametrize("space_name", ["darts", "nasbench201"])
def test_a_loss_is_computed_on_the_device_of_the_process(
    method_name: str, space_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # also where there is a GPU: fake tensors cannot be pinned
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = recipe(method=method_name)
    space = get_space(space_name).without(config.exclude)
    split = BilevelSplit(dark_and_light(), config)
    built = build_search(space, config, 2, seed=0)

    def search_on(distributed: Distributed) -> BilevelSearch:
        modules = [moved(module, distributed.device) for module in built]
        search = BilevelSearch(*modules, config, split, META, 0, distributed)
        for half in (split.weights, split.architecture):
            ((images, labels),) = search._batch_parts(half, torch.arange(16))
            loss_of(search, images, labels)  # what is kept on the device is brought there once
            with Crossings() as crossings:
                loss = loss_of(search, images, labels)
            assert {x.device for x in (images, labels, loss)} == {distributed.device}
            # a pass that waits for nothing can be recorded as a CUDA graph
            assert crossings.seen == []
        return search

    # what is made once for all searches is made here, of tensors that are not fake
    here = search_on(Distributed())
    cell = decode(sample_weights(here.supernet, here.method, [torch.zeros(4, 3, 8, 8)]), space)
    with FakeTensorMode(allow_non_fake_inputs=True):
        search = search_on(Distributed(device=GPU))
        samples = sample_weights(search.supernet, search.method, [torch.zeros(4, 3, 8, 8)])
        nodes = [node for cells in samples.values() for nodes in cells for node in nodes]
        assert {node.op_weights.device.type for node in nodes} == {"cpu"}
        search.method = FixedCell(cell.cells)
        labels = torch.zeros(4, dtype=torch.int64, device=GPU)
        with Crossings() as crossings:
            loss_of(search, torch.zeros(4, 3, 8, 8, device=GPU), labels)
        assert crossings.seen == []
    incidence.cache_clear()  # it holds tensors of a fake device


@pytest.mark.parametrize("method_name", ["midas", "darts"])
def test_fewer_bits_change_a_search_a_little(method_name: str) -> None:
    losses = []
    for precision in ("float32", "tf32", "bfloat16"):
        config = recipe(method=method_name, precision=precision)
        result = run_search(get_space("darts"), config, dark_and_light(), META, seed=0)
        parameters = [*result.supernet.parameters(), *result.method.parameters()]
        assert {parameter.dtype for parameter in parameters} == {torch.float32}
        losses.append(result.history[-1]["weight_loss"])
    assert losses[0] == losses[1]  # a CPU does not know tf32
    assert losses[0] == pytest.approx(losses[2], rel=0.1)
    assert losses[0] != losses[2]


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "method_name", ["midas", "darts", "darts-pairs", "beta-darts", "gdas", "random"]
)
def test_only_a_method_that_does_the_same_in_each_pass_is_recorded(method_name: str) -> None:
    supernet, method = build_search(get_space("darts"), recipe(method=method_name), 2, seed=0)
    passes = []
    for _ in range(4):
        with Operations() as operations:
            supernet(torch.zeros(2, 3, 8, 8), method)[0].sum().backward()
        passes.append(operations.seen)
    assert all(seen == passes[1] for seen in passes[1:]) == method.repeats
