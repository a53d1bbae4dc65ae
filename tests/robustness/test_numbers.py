"""Numbers at their edges: gradients, logits of any size, maps and batches of any shape."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import DataMeta, Split
from midas.decode.decode import decode, sample_weights
from midas.decode.monitor import accuracy, decode_batches
from midas.engine.checkpoint import Checkpoint
from midas.genotype import Genotype
from midas.io.errors import DataError
from midas.nets.build import build_network
from midas.search.config import SearchConfig
from midas.search.edge_pairs import pair_marginals
from midas.search.methods import ArchWeights, NodeSpec
from midas.search.methods.midas import MidasMethod
from midas.search.run import build_search, run_search
from midas.spaces import get_space
from midas.spaces.space import EdgeSpec
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.zoo.registry import ZOO

OPS = ("skip_connect", "sep_conv_3x3")
DARTS, BENCH = (Genotype.from_value(ZOO[name]["genotype"]) for name in ("darts_v2", "nb201_best"))


def node(**options: object) -> tuple[MidasMethod, NodeSpec]:
    """A node with three inputs of three channels and two candidates on each edge, in float64."""
    torch.manual_seed(0)
    node_spec = NodeSpec(0, "normal", 3, 0, tuple(EdgeSpec(i, 3, OPS) for i in range(3)))
    config = SearchConfig.model_validate({"width": 4, **options})
    return MidasMethod(get_space("darts"), [node_spec], config).double(), node_spec


def mixed(
    method: MidasMethod, node_spec: NodeSpec, inputs: Sequence[Tensor], op_outputs: Sequence[Tensor]
) -> tuple[Tensor, ArchWeights]:
    method.begin_cell()
    return method.mixed_op(node_spec, inputs, op_outputs)


@pytest.mark.parametrize("edges", [3, 4, 5])
def test_the_topologys_gradients_are_those_of_finite_differences(edges: int) -> None:
    scores = torch.randn(
        2,
        edges,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(edges),
        requires_grad=True,
    )
    assert torch.autograd.gradcheck(pair_marginals, (scores,))
    assert torch.autograd.gradgradcheck(pair_marginals, (scores,))  # second order search needs them


@pytest.mark.parametrize(
    ("size", "patch"),
    [(4, 4), (6, 4), (5, 2), (3, 8), (1, 4), (4, None)],
    ids=lambda value: str(value),
)
def test_the_attentions_gradients_are_those_of_finite_differences(
    size: int, patch: int | None
) -> None:
    """In inputs, maps and every parameter; where the patch fits, does not divide, and is larger
    than the map.
    """
    method, node_spec = node(patch_size=patch)
    tensors = [
        torch.randn(1, 3, size, size, dtype=torch.float64, requires_grad=True) for _ in range(9)
    ]
    parameters = dict(method.named_parameters())

    def output(*values: Tensor) -> tuple[Tensor, ...]:
        # the values stand in for the parameters, which is what gradcheck may differentiate
        stand_ins = {
            f"method.{name}": value for name, value in zip(parameters, values[9:], strict=True)
        }
        result: tuple[Tensor, ...] = functional_call(
            _Mixing(method, node_spec), stand_ins, values[:9]
        )
        return result

    assert torch.autograd.gradcheck(
        output, [*tensors, *parameters.values()], fast_mode=True, atol=1e-6
    )


class _Mixing(torch.nn.Module):
    """A node's `mixed_op` as a module's forward."""

    def __init__(self, method: MidasMethod, node_spec: NodeSpec) -> None:
        super().__init__()
        self.method = method
        self.node_spec = node_spec

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        output, arch_weights = mixed(self.method, self.node_spec, tensors[:3], tensors[3:])
        return (output, *(w for w in arch_weights if isinstance(w, Tensor)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e4, 1e15])
def test_outputs_of_any_size_give_finite_weights_that_sum_to_one(
    scale: float, dtype: torch.dtype
) -> None:
    method, node_spec = node(patch_size=4)
    method.to(dtype)
    tensors = [
        (scale * torch.randn(2, 3, 8, 8, dtype=torch.float64)).to(dtype).requires_grad_()
        for _ in range(9)
    ]
    output, arch_weights = mixed(method, node_spec, tensors[:3], tensors[3:])
    assert arch_weights.edge_probs is not None
    assert arch_weights.pair_probs is not None
    unit = torch.ones((), dtype=dtype)
    assert torch.allclose(arch_weights.op_weights.sum(-1), unit, atol=1e-5)
    assert torch.allclose(arch_weights.pair_probs.sum(-1), unit, atol=1e-5)
    assert torch.allclose(arch_weights.edge_probs.sum(-1), 2 * unit, atol=1e-5)
    assert torch.isfinite(output).all()
    gradients = torch.autograd.grad(
        (output / max(1.0, scale)).sum(), tensors + list(method.parameters())
    )
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_equal_candidates_have_equal_weights_and_equal_gradients() -> None:
    method, node_spec = node(patch_size=4)
    same = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    op_outputs = [same.clone().requires_grad_() for _ in range(6)]
    output, arch_weights = mixed(method, node_spec, [same] * 3, op_outputs)
    op_weights = arch_weights.op_weights
    assert torch.allclose(op_weights, torch.full_like(op_weights, 1 / 2))
    edge_probs = arch_weights.edge_probs
    assert edge_probs is not None
    assert torch.allclose(edge_probs, torch.full_like(edge_probs, 2 / 3))
    assert torch.allclose(output, 2 * same)  # two kept edges of one output
    gradients = torch.autograd.grad(output.square().sum(), op_outputs)
    assert all(torch.allclose(gradient, gradients[0]) for gradient in gradients)


def test_a_batch_of_one_gives_what_the_image_gives_among_others() -> None:
    method, node_spec = node(patch_size=2)
    tensors = [torch.randn(4, 3, 5, 5, dtype=torch.float64) for _ in range(9)]
    whole = mixed(method, node_spec, tensors[:3], tensors[3:])[0]
    alone = [
        mixed(
            method,
            node_spec,
            [t[k : k + 1] for t in tensors[:3]],
            [t[k : k + 1] for t in tensors[3:]],
        )[0]
        for k in range(4)
    ]
    assert torch.allclose(torch.cat(alone), whole, atol=1e-12)


def images(count: int, size: int, classes: int) -> tuple[Split, DataMeta]:
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(
        0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator
    ).permute(0, 3, 1, 2)
    names = tuple(f"class {k}" for k in range(classes))
    resize: dict[str, int | str] = {"resize": size, "interpolation": "bilinear", "crop": "center"}
    meta = DataMeta(
        names,
        size,
        (0.5,) * 3,
        (0.3,) * 3,
        {"train": count, "val": count, "test": 0},
        "f",
        "npz",
        resize,
        0,
    )
    return Split(pixels, torch.arange(count) % classes), meta


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
@pytest.mark.parametrize("size", [4, 5, 7])
def test_a_batch_of_one_tiny_image_can_be_decoded_and_judged(space: str, size: int) -> None:
    """Where the last batch of a sample has a single image and the last map a single pixel, batch
    norm has one value.
    """
    split, meta = images(3, size, 2)
    config = SearchConfig.model_validate(
        {"channels": 2, "cells": 3 if space == "darts" else 1, "patch_size": 2}
    )
    supernet, method = build_search(get_space(space), config, 2, seed=0)
    samples = sample_weights(supernet, method, decode_batches(split, meta, 2))
    genotype = decode(samples, get_space(space))
    get_space(space).check(genotype)
    assert 0 <= accuracy(supernet, method, split, meta, 2) <= 1


@pytest.mark.parametrize("genotype", [DARTS, BENCH], ids=["darts", "nasbench201"])
@pytest.mark.parametrize("size", [4, 5, 9, 17])
@pytest.mark.parametrize("classes", [1, 1000])
def test_networks_take_one_image_of_any_size_and_one_or_a_thousand_classes(
    genotype: Genotype, size: int, classes: int
) -> None:
    network = build_network(
        genotype, num_classes=classes, channels=2, cells=3 if genotype is DARTS else 1
    ).eval()
    logits = network(torch.randn(1, 3, size, size))
    assert logits.shape == (1, classes)
    assert torch.isfinite(logits).all()


def test_one_class_is_refused_by_the_data_stage(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), np.uint8), labels=np.zeros(9, np.int64))
    with pytest.raises(DataError, match="needs at least 2"):
        prepare(DataConfig(source="npz", root=str(tmp_path / "a.npz")), tmp_path / "out")


def test_a_thousand_classes_are_searched_and_trained(tmp_path: Path) -> None:
    split, meta = images(2000, 4, 1000)
    search = SearchConfig.model_validate(
        {
            "channels": 2,
            "cells": 1,
            "epochs": 1,
            "batch_size": 500,
            "monitor_images": 16,
            "patch_size": 2,
        }
    )
    searched = run_search(
        get_space("nasbench201"), search, split, meta, 0, Checkpoint(tmp_path / "search", "p")
    )
    assert np.isfinite(searched.history[-1]["arch_loss"])
    target = TargetConfig.model_validate(
        {
            "channels": 2,
            "cells": 1,
            "epochs": 1,
            "batch_size": 1000,
            "auxiliary_weight": 0,
            "augment": {"cutout": 0},
        }
    )
    network = build_network(BENCH, num_classes=1000, channels=2, cells=1)
    result = train(network, target, split, split, meta, Checkpoint(tmp_path / "train", "p"))
    assert np.isfinite(result.history[-1]["train_loss"])
    assert all(torch.isfinite(t).all() for t in result.best.values() if t.is_floating_point())
