"""The supernet has the published size, computes nothing twice, and holds any decoded cell."""

import pytest
import torch

from midas.decode.decode import decode, sample_weights
from midas.genotype import CellGenotype, Edge
from midas.search.config import SearchConfig
from midas.search.methods import FixedCell
from midas.search.methods.darts import DartsMethod
from midas.search.methods.midas import MidasMethod
from midas.search.run import build_search
from midas.search.supernet import SearchCell, Supernet
from midas.spaces import SPACES, get_space


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_darts_supernet_has_the_published_number_of_weights() -> None:
    supernet, method = build_search(
        get_space("darts"), SearchConfig(method="darts", exclude=[]), num_classes=10, seed=0
    )
    assert count(supernet) == 1_930_618
    assert count(supernet) + count(method) == 1_930_842  # with the 14 x 8 x 2 static parameters


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("method_name", ["midas", "darts"])
def test_one_supernet_serves_every_space_and_method(space: str, method_name: str) -> None:
    cells = 1 if space == "nasbench201" else 3
    config = SearchConfig(method=method_name, exclude=[], channels=4, cells=cells)
    supernet, method = build_search(get_space(space), config, num_classes=3, seed=0)
    logits, cell_weights = supernet(torch.randn(2, 3, 16, 16), method)
    assert logits.shape == (2, 3)
    assert len(cell_weights) == 3
    gradients = torch.autograd.grad(
        logits.square().sum(), list(method.parameters()), allow_unused=True
    )
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    genotype = decode(
        sample_weights(supernet, method, [torch.randn(4, 3, 16, 16)]), get_space(space)
    )
    get_space(space).check(genotype)
    assert supernet(torch.randn(2, 3, 16, 16), FixedCell(dict(genotype.cells)))[0].shape == (2, 3)


@pytest.mark.parametrize("size", [9, 14, 32])
def test_odd_map_sizes_work(size: int) -> None:
    supernet, method = build_search(
        get_space("darts"), SearchConfig(channels=2, cells=3), num_classes=2, seed=0
    )
    assert supernet(torch.randn(2, 3, size, size), method)[0].shape == (2, 2)


def test_a_discrete_cell_equals_the_supernet_with_one_hot_weights() -> None:
    torch.manual_seed(0)
    space = get_space("darts")
    cell = SearchCell(space, 0, "normal", 4, 0)
    edges = tuple(
        Edge(op, source, node)
        for node in range(2, 6)
        for source, op in ((0, "sep_conv_3x3"), (1, "skip_connect"))
    )
    states = [torch.randn(2, 4, 8, 8) for _ in range(2)]
    output, _ = cell(states, FixedCell({"normal": CellGenotype(edges, space.concat)}))
    expected = []
    for node in range(2, 6):
        first = sum(range(2, node))  # the number of edges into earlier nodes
        operation = cell.edges[first][space.edges["normal"][0].candidates.index("sep_conv_3x3")]
        # the cell rectifies its inputs once for all
        expected.append(operation(states[0].relu()) + states[1])
    assert torch.allclose(output, torch.cat(expected, dim=1), atol=1e-6)


def test_candidates_without_weights_are_computed_once_for_each_input() -> None:
    cell = SearchCell(get_space("darts"), 0, "normal", 4, 0)
    calls = []
    for edge in cell.edges:
        for operation in edge:
            if type(operation).__name__ == "Pool":
                operation.register_forward_hook(lambda *args: calls.append(1))
    cell([torch.randn(2, 4, 8, 8) for _ in range(2)], DartsMethod(cell.node_specs))
    assert len(calls) == 2 * 5  # two kinds of pooling, of two inputs and three nodes


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    config = SearchConfig(channels=2, cells=3)
    nets = [build_search(get_space("darts"), config, 3, seed)[0] for seed in (0, 0, 1)]
    first, second, third = ([p.detach() for p in net.parameters()] for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, third, strict=True))


def test_midas_has_projections_for_every_node_of_every_cell() -> None:
    supernet, method = build_search(
        get_space("darts"), SearchConfig(channels=4, cells=3, width=5), 3, seed=0
    )
    assert isinstance(method, MidasMethod)
    assert isinstance(supernet, Supernet)
    widths = [node_spec.channels for node_spec in supernet.node_specs]
    inputs = [len(node_spec.edges) for node_spec in supernet.node_specs]
    assert count(method) == sum(n * c * 5 + 5 + c * 5 for n, c in zip(inputs, widths, strict=True))
