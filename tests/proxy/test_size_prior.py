"""How much smaller than the largest a cell's networks are, counted without building each."""

import math

import pytest
import torch
from torch.nn import functional as F

from midas.engine import seeding
from midas.genotype import Genotype
from midas.proxy.priors import count_operation_weights, log_size_gap
from midas.search.methods import FixedCell, random_genotype
from midas.search.supernet import Supernet
from midas.spaces import get_space

SPACES = ["darts", "nasbench201", "rdarts-s2", "rdarts-s4"]


def trained_weights(genotype: Genotype, space: str, channels: int, cells: int) -> int:
    """The weights that a step of the cell's own training changes, in a supernet."""
    network = Supernet(get_space(space), channels, cells, 10).train()
    logits, _ = network(torch.randn(4, 3, 8, 8), FixedCell(genotype.cells))
    F.cross_entropy(logits, torch.arange(4)).backward()
    return sum(weight.numel() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("name", SPACES)
def test_the_weights_counted_are_those_that_a_training_changes(name: str) -> None:
    space = get_space(name).without(["none", "noise"])  # what they leave unused has no gradient
    generator = seeding.generator(0, "cells")
    genotypes = [random_genotype(space, generator) for _ in range(3)]
    fixed, op_counts = count_operation_weights(space, 4, 3, 10)
    gap = log_size_gap(space, 4, [3], 10)
    counts = []
    for genotype in genotypes:
        ops = [
            (kind, edge.source, edge.target, edge.op)
            for kind, cell in genotype.cells.items()
            for edge in cell.edges
        ]
        counts.append(fixed + sum(op_counts.get(op, 0) for op in ops))
        assert counts[-1] == trained_weights(genotype, name, 4, 3)
    differences = [gap(genotype) - gap(genotypes[0]) for genotype in genotypes]
    assert differences == pytest.approx([math.log(counts[0] / count) for count in counts])


def arch(op: str) -> Genotype:
    return Genotype.from_arch(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|")


def test_the_largest_cell_has_no_gap_and_weightless_operations_have_the_same() -> None:
    gap = log_size_gap(get_space("nasbench201"), 8, [2], 10)
    assert gap(arch("nor_conv_3x3")) == 0.0
    assert 0 < gap(arch("nor_conv_1x1")) < gap(arch("skip_connect")) == gap(arch("none"))


def test_networks_of_several_depths_are_counted_together() -> None:
    space = get_space("nasbench201")
    cell = arch("nor_conv_1x1")
    shallow, both, deep = (
        log_size_gap(space, 8, depths, 10)(cell) for depths in ([1], [1, 3], [3])
    )
    assert shallow < both < deep
