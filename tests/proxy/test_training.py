"""Proxy trainings of cells: the recipe, the score, and that both are the same side by side."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from midas.data.config import AugmentConfig
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.io.errors import ParamsError
from midas.proxy.config import ProxyConfig
from midas.proxy.training import ParallelTrainings, ProxyTraining, proxy_recipe
from midas.search.bilevel import BilevelSplit
from midas.search.config import SearchConfig
from midas.spaces import get_space

Data = tuple[Split, Split, DataMeta]
SPACE = get_space("nasbench201")
POINTWISE = Genotype.from_arch(
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|"
    "+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
DEAD = Genotype.from_arch("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
STILL = {"learning_rate": 1e-12, "min_learning_rate": 0.0}  # nothing is learned


def proxy(digits: Data, epochs: int = 2) -> ProxyTraining:
    train, _, meta = digits
    recipe = SearchConfig(channels=4, cells=1, images=400, batch_size=32, learning_rate=0.1)
    return ProxyTraining(SPACE, recipe, (1,), epochs, BilevelSplit(train, recipe), meta, seed=0)


def changed(training: ProxyTraining, **changes: Any) -> ProxyTraining:
    """The same with another recipe."""
    return replace(training, recipe=training.recipe.model_copy(update=changes))


def test_proxy_trainings_take_the_searchs_recipe_but_for_what_the_parameters_say(
    digits: Data,
) -> None:
    meta = digits[2]
    augment = AugmentConfig(pad=2, flip=True)
    search = SearchConfig(cells=1, image_size=16, images=100, augment=augment)
    assert proxy_recipe(search, ProxyConfig(), meta) == search
    recipe = proxy_recipe(search, ProxyConfig(channels=8, image_size=8, images=60), meta)
    assert (recipe.channels, recipe.image_size, recipe.images) == (8, 8, 60)
    assert recipe.augment == AugmentConfig(pad=1, flip=True)
    names = ("channels", "image_size", "images", "augment")
    assert recipe.model_copy(update={name: getattr(search, name) for name in names}) == search


def test_crops_and_cutout_keep_their_share_of_a_smaller_image(digits: Data) -> None:
    cutout = SearchConfig(cells=1, image_size=16, augment=AugmentConfig(cutout=6))
    assert proxy_recipe(cutout, ProxyConfig(image_size=8), digits[2]).augment.cutout == 3
    crops = SearchConfig(cells=1, image_size=16, augment=AugmentConfig(pad=2, flip=True))
    without = proxy_recipe(crops, ProxyConfig(image_size=8, crops=False), digits[2])
    assert without.augment == AugmentConfig(flip=True)


def test_proxy_trainings_tell_a_network_from_a_dead_one(digits: Data) -> None:
    training = proxy(digits, epochs=8)
    alive = training(POINTWISE)
    dead = training(DEAD)
    assert alive.accuracy > dead.accuracy + 0.2
    assert alive.loss < dead.loss


@pytest.mark.parametrize("rate", [30.0, 1e30])  # losses far above a guess's, and none at all
def test_a_training_that_diverges_counts_as_a_guess(rate: float, digits: Data) -> None:
    training = changed(proxy(digits, epochs=1), learning_rate=rate)
    assert training(POINTWISE).loss == pytest.approx(math.log(len(training.meta.classes)))


def test_proxy_trainings_compute_with_the_precision_of_the_search(digits: Data) -> None:
    training = proxy(digits, epochs=1)
    exact = training(POINTWISE).loss
    rounded = changed(training, precision="bfloat16")(POINTWISE).loss
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.05)


def test_the_mean_over_networks_of_several_depths_counts(digits: Data) -> None:
    training = proxy(digits, epochs=1)
    shallow, deep, both = (
        replace(training, depths=depths)(POINTWISE) for depths in ((1,), (2,), (1, 2))
    )
    assert shallow != deep
    assert both == pytest.approx([(a + b) / 2 for a, b in zip(shallow, deep, strict=True)])


def test_a_training_gives_the_same_again_and_in_a_process_of_its_own(digits: Data) -> None:
    training = proxy(digits)
    cells = [POINTWISE, DEAD]
    threads = torch.get_num_threads()
    here = list(ParallelTrainings(1)(training, cells))
    parallel = ParallelTrainings(2)
    assert parallel.executor is not None
    with parallel.executor:
        assert list(parallel(training, cells)) == here
    assert torch.get_num_threads() == threads
    assert not training.split.weights.images.is_shared(), "a container has little shared memory"


@pytest.mark.parametrize("first", ["nor_conv_3x3~0", "none~0"])
def test_cells_that_differ_in_one_edge_start_from_the_same_other_weights(
    first: str, digits: Data
) -> None:
    """Without learning only the start counts, and the changed edge leads to a node nobody reads."""
    still = changed(proxy(digits, epochs=1), **STILL)
    losses = [
        still(Genotype.from_arch(f"|{op}|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")).loss
        for op in (first, "skip_connect~0")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_loss_is_the_mean_over_the_last_epoch(digits: Data) -> None:
    training = proxy(digits, epochs=2)
    still = changed(training, **STILL)
    twice = still(POINTWISE).loss
    once = replace(still, epochs=1)(POINTWISE).loss
    assert twice == pytest.approx(once, abs=0.02)  # the same images in another order
    assert training(POINTWISE).loss < twice - 0.1


def test_images_are_averaged_down_and_never_blown_up(digits: Data) -> None:
    assert BilevelSplit(digits[0], SearchConfig(image_size=4)).weights.images.shape[-1] == 4
    message = r"^image_size: 16 is more than the 8 pixels of these images"
    with pytest.raises(ParamsError, match=message):
        BilevelSplit(digits[0], SearchConfig(image_size=16))
