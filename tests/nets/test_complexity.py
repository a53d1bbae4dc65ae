"""Networks have the parameters and multiply-adds that papers and tables print for them."""

import csv
import gzip
import os
from pathlib import Path

import pytest

from midas.genotype import Genotype
from midas.nets.build import build_network, count_macs, count_parameters
from midas.nets.network import AuxiliaryHead
from midas.zoo.registry import ZOO

DARTS_V2 = Genotype.from_value(ZOO["darts_v2"]["genotype"])


@pytest.mark.parametrize(
    ("skeleton", "channels", "cells", "classes", "plain", "with_auxiliary"),
    [("cifar", 36, 20, 10, 3_349_342, 3_825_768), ("imagenet", 48, 14, 1000, 4_718_752, 5_979_528)],
)
def test_darts_v2_has_the_published_parameters(
    skeleton: str, channels: int, cells: int, classes: int, plain: int, with_auxiliary: int
) -> None:
    network = build_network(
        DARTS_V2, num_classes=classes, channels=channels, cells=cells, skeleton=skeleton
    )
    head = AuxiliaryHead(network.auxiliary_channels, classes, skeleton)
    assert count_parameters(network) == plain
    assert count_parameters(network) + count_parameters(head) == with_auxiliary


def test_darts_v2_takes_530_million_multiply_adds_at_imagenet_size() -> None:
    network = build_network(DARTS_V2, num_classes=1000, channels=48, cells=14, skeleton="imagenet")
    assert count_macs(network, (3, 224, 224)) == pytest.approx(529.9e6, rel=1e-3)


def test_counting_leaves_the_network_as_it_was() -> None:
    network = build_network(DARTS_V2, num_classes=10, channels=4, cells=2).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_macs(network, (3, 16, 16))
    assert network.training
    assert all((before[name] == tensor).all() for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


# architecture, parameters and multiply-adds in millions
TABLE = [
    (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|"
        "+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
        0.129306,
        15.64737,
    ),
    (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|"
        "+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
        0.802426,
        113.95137,
    ),
    (
        "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|",
        0.073306,
        7.78305,
    ),
    (
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
        "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
        1.288506,
        184.73025,
    ),
]


@pytest.mark.parametrize(("arch", "params_m", "flops_m"), TABLE)
def test_nasbench201_cells_have_the_costs_of_the_table(
    arch: str, params_m: float, flops_m: float
) -> None:
    _assert_costs(arch, params_m, flops_m)


PARTS = 25  # of the table's 15,625 rows, so that several workers can share them


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_row_of_the_nasbench201_table_has_the_same_costs(part: int) -> None:
    rows = _table_rows()
    assert len(rows) == 15_625
    for row in rows[part::PARTS]:
        _assert_costs(row["arch"], float(row["params_m"]), float(row["flops_m"]))


def test_sampled_rows_of_the_nasbench201_table_have_the_same_costs() -> None:
    rows = _table_rows()
    for row in rows[:: len(rows) // 40]:
        _assert_costs(row["arch"], float(row["params_m"]), float(row["flops_m"]))


def _table_rows() -> list[dict[str, str]]:
    if "MIDAS_SHARED_DATA" not in os.environ:
        pytest.skip("needs the table: MIDAS_SHARED_DATA is not set")
    path = Path(os.environ["MIDAS_SHARED_DATA"]) / "nasbench201_cifar10.csv.gz"
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def _assert_costs(arch: str, params_m: float, flops_m: float) -> None:
    """The table counts the classifier's ten biases as multiply-adds, which is 1e-5 million."""
    network = build_network(Genotype.from_arch(arch), num_classes=10, channels=16, cells=5)
    assert f"{count_parameters(network) / 1e6:.6f}" == f"{params_m:.6f}"
    assert count_macs(network, (3, 32, 32)) / 1e6 == pytest.approx(flops_m, abs=1e-3)
