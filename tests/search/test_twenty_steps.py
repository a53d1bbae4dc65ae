"""A search by the kernels of a CPU is the search by torch alone."""

import pytest
from test_goldens import random_batches, twenty_steps

from midas.decode.decode import decode, sample_weights
from midas.genotype import Genotype
from midas.spaces import get_space
from tests.kernels.switch import kernels


def search(native: bool, space_name: str, method_name: str) -> tuple[list[float], Genotype]:
    """The losses of twenty steps of each kind, and the cell that they lead to."""
    with kernels(on=native):
        losses, supernet, method = twenty_steps(space_name, method_name)
        samples = sample_weights(supernet, method, [random_batches()[0][0]])
    return losses, decode(samples, get_space(space_name).without(["none"]))


@pytest.mark.parametrize(
    ("space_name", "method_name"),
    [
        ("nasbench201", "midas"),
        ("nasbench201", "darts"),
        pytest.param("darts", "midas", marks=pytest.mark.slow),
    ],
)
def test_twenty_steps_either_way_have_the_same_losses_and_the_same_cell(
    space_name: str, method_name: str
) -> None:
    losses, cell = search(True, space_name, method_name)
    plain_losses, plain_cell = search(False, space_name, method_name)
    assert losses[-1] != losses[0]
    assert losses == pytest.approx(plain_losses, abs=1e-8)
    assert cell == plain_cell
