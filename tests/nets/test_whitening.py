"""The stem of the fast skeleton: whitened patches and half the map."""

import torch

from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.nets.skeletons import Whitening
from midas.zoo.registry import ZOO

ARCH = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|none~2|"


def test_fitted_filters_give_uncorrelated_outputs_of_variance_one() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(64, 3, 9, 9, generator=generator).cumsum(2).cumsum(3)
    whitening = Whitening(3)
    whitening.fit(mixed)
    half = whitening.filters[:12]
    # inside the image, without the row and column of zeros
    outputs = torch.nn.functional.conv2d(mixed, half).transpose(0, 1).flatten(1)
    moments = outputs @ outputs.T / outputs.shape[1]
    torch.testing.assert_close(moments, torch.eye(12), atol=0.02, rtol=0)


def test_each_filter_stands_with_both_signs_and_nothing_trains_it() -> None:
    whitening = Whitening(1)
    images = torch.randn(2, 1, 5, 5)
    whitening.fit(images)
    torch.testing.assert_close(whitening.filters[:4], -whitening.filters[4:])
    assert whitening(images).shape == (2, 8, 5, 5)
    assert not list(whitening.parameters())
    assert "filters" in whitening.state_dict()


def test_the_fast_skeleton_halves_the_map_for_both_kinds_of_cells() -> None:
    for genotype, width in (
        (Genotype.from_arch(ARCH), 4),
        (Genotype.from_value(ZOO["darts_v2"]["genotype"]), 12),
    ):
        network = build_network(genotype, num_classes=2, channels=4, cells=3, skeleton="fast")
        first = network.eval().stem0(torch.randn(1, 3, 15, 15))
        assert first.shape == (1, width, 8, 8)
        assert network(torch.randn(2, 3, 15, 15)).shape == (2, 2)
        assert [info["reduction"] for info in network.feature_info] == [2, 4, 8]
