"""How much smaller than the largest a cell's networks are: counted by edges, as if each had been built."""

import math

import pytest
import torch
from torch.nn import functional as F

from midas.genotype import Genotype
from midas.runs import seeding
from midas.search.arms import DiscreteArm, random_genotype
from midas.search.capacity import operation_weights, shortfall
from midas.search.supernet import Supernet
from midas.spaces import get_space

SPACES = ["darts", "nasbench201", "rdarts-s2", "rdarts-s4"]


def trained_weights(genotype: Genotype, space: str, channels: int, cells: int) -> int:
    """The weights that a step of the cell's own training changes, in a supernet of which it uses a part."""
    network = Supernet(get_space(space), channels, cells, 10).train()
    logits, _ = network(torch.randn(4, 3, 8, 8), DiscreteArm(genotype.cells))
    F.cross_entropy(logits, torch.arange(4)).backward()
    return sum(weight.numel() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", SPACES)
def test_the_weights_counted_are_those_that_a_training_changes(name: str) -> None:
    space = get_space(name).without(["none", "noise"])  # what they leave unused has no gradient
    draws = seeding.generator(0, "cells")
    cells = [random_genotype(space, draws) for _ in range(3)]
    fixed, found = operation_weights(space, 4, 3, 10)
    small = shortfall(space, 4, [3], 10)
    counts = []
    for cell in cells:
        edges = [(kind, e.source, e.target, e.op) for kind, one in cell.cells.items() for e in one.edges]
        counts.append(fixed + sum(found.get(edge, 0) for edge in edges))
        assert counts[-1] == trained_weights(cell, name, 4, 3)
    differences = [small(cell) - small(cells[0]) for cell in cells]
    assert differences == pytest.approx([math.log(counts[0] / count) for count in counts])


def arch(op: str) -> Genotype:
    return Genotype.from_arch(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|")


def test_the_largest_cell_falls_short_of_nothing_and_weightless_operations_count_alike() -> None:
    small = shortfall(get_space("nasbench201"), 8, [2], 10)
    assert small(arch("nor_conv_3x3")) == 0.0
    assert 0 < small(arch("nor_conv_1x1")) < small(arch("skip_connect")) == small(arch("none"))


def test_networks_of_several_depths_are_counted_together() -> None:
    space, cell = get_space("nasbench201"), arch("nor_conv_1x1")
    one, three = (shortfall(space, 8, [depth], 10)(cell) for depth in (1, 3))
    assert one < shortfall(space, 8, [1, 3], 10)(cell) < three
