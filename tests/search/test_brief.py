"""Short trainings of cells: the recipe, what comes out, and that it is the same side by side."""

import math
from dataclasses import replace

import pytest
import torch

from midas.data.augment import AugmentConfig
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.errors import ParamsError
from midas.search.brief import ShortTrainings, Trainer, short_recipe
from midas.search.config import RefineConfig, SearchConfig
from midas.search.halves import Halves
from midas.spaces import get_space

Data = tuple[Split, Split, DataMeta]
SPACE = get_space("nasbench201")
POINTWISE = Genotype.from_arch(
    "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|nor_conv_1x1~0|nor_conv_1x1~1|nor_conv_1x1~2|"
)
DEAD = Genotype.from_arch("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")


def trainings(digits: Data, epochs: int = 2) -> ShortTrainings:
    train, _, meta = digits
    recipe = SearchConfig(channels=4, cells=1, images=400, batch_size=32, learning_rate=0.1)
    return ShortTrainings(SPACE, recipe, (1,), epochs, Halves(train, recipe), meta, seed=0)


def test_short_trainings_take_the_searches_recipe_but_for_what_is_said(digits: Data) -> None:
    search = SearchConfig(cells=1, image_size=16, images=100, augment=AugmentConfig(pad=2, flip=True))
    assert short_recipe(search, RefineConfig(), digits[2]) == search
    short = short_recipe(search, RefineConfig(channels=8, image_size=8, images=60), digits[2])
    assert (short.channels, short.image_size, short.images, short.augment.pad) == (8, 8, 60, 1)
    cut = SearchConfig(cells=1, image_size=16, augment=AugmentConfig(cutout=6))
    assert short_recipe(cut, RefineConfig(image_size=8), digits[2]).augment.cutout == 3
    assert short_recipe(search, RefineConfig(image_size=8, crops=False), digits[2]).augment == AugmentConfig(flip=True)
    changed = ("channels", "image_size", "images", "augment")
    assert short.model_copy(update={name: getattr(search, name) for name in changed}) == search


def test_short_trainings_tell_a_network_from_a_dead_one(digits: Data) -> None:
    alive, dead = (trainings(digits, epochs=8)(cell) for cell in (POINTWISE, DEAD))
    assert alive.accuracy > dead.accuracy + 0.2
    assert alive.loss < dead.loss


def test_a_training_that_diverges_counts_as_a_guess(digits: Data) -> None:
    run = trainings(digits, epochs=1)
    for rate in (30.0, 1e30):  # losses far above a guess's, and none at all
        wild = replace(run, recipe=run.recipe.model_copy(update={"learning_rate": rate}))
        assert wild(POINTWISE).loss == pytest.approx(math.log(len(run.meta.classes)))


def test_short_trainings_compute_with_the_precision_of_the_search(digits: Data) -> None:
    run = trainings(digits, epochs=1)
    lower = replace(run, recipe=run.recipe.model_copy(update={"precision": "bfloat16"}))
    exact, rounded = run(POINTWISE).loss, lower(POINTWISE).loss
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.05)


def test_the_mean_over_networks_of_several_depths_counts(digits: Data) -> None:
    run = trainings(digits, epochs=1)
    one, two, both = (replace(run, depths=depths)(POINTWISE) for depths in ((1,), (2,), (1, 2)))
    assert one != two
    assert both == pytest.approx([(a + b) / 2 for a, b in zip(one, two, strict=True)])


def test_a_training_gives_the_same_again_and_in_a_process_of_its_own(digits: Data) -> None:
    run, cells, threads = trainings(digits), [POINTWISE, DEAD], torch.get_num_threads()
    here = list(Trainer(1)(run, cells))
    pool = Trainer(2)
    assert pool.pool is not None
    with pool.pool:
        elsewhere = list(pool(run, cells))
    for one, other in zip(here, elsewhere, strict=True):
        assert one == other
    assert torch.get_num_threads() == threads
    assert not run.halves.weights.images.is_shared(), "a container has little shared memory"


@pytest.mark.parametrize("place", range(2))
def test_cells_that_differ_in_one_edge_start_from_the_same_other_weights(digits: Data, place: int) -> None:
    """With no step there is nothing but the start: what does not pass through the changed edge agrees."""
    run = trainings(digits, epochs=1)
    recipe = run.recipe.model_copy(update={"learning_rate": 1e-12, "min_learning_rate": 0.0})
    still = ShortTrainings(SPACE, recipe, (1,), 1, run.halves, run.meta, 0)
    first = ["nor_conv_3x3~0", "none~0"][place]  # an edge into node 1, which nothing reads
    cells = [
        Genotype.from_arch(f"|{op}|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|") for op in (first, "skip_connect~0")
    ]
    one, other = (still(cell).loss for cell in cells)
    assert one == pytest.approx(other, rel=1e-6)


def test_the_loss_is_the_mean_over_the_last_epoch(digits: Data) -> None:
    """Where nothing is learned one epoch has the loss of two, and where something is the last epoch has less."""
    run = trainings(digits, epochs=2)
    still = replace(run, recipe=run.recipe.model_copy(update={"learning_rate": 1e-12, "min_learning_rate": 0.0}))
    before, after = still(POINTWISE).loss, run(POINTWISE).loss
    once = replace(still, epochs=1)(POINTWISE).loss
    assert before == pytest.approx(once, abs=0.02)  # the same images in another order, nothing learned
    assert after < before - 0.1


def test_images_are_averaged_down_and_never_blown_up(digits: Data) -> None:
    assert Halves(digits[0], SearchConfig(image_size=4)).weights.images.shape[-1] == 4
    with pytest.raises(ParamsError, match=r"^image_size: 16 is more than the 8 pixels of these images"):
        Halves(digits[0], SearchConfig(image_size=16))
