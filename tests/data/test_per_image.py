"""Per-image transforms draw from the seed of the image, and leave global generators alone."""

import random

import pytest
import torch
from pydantic import ValidationError
from test_augment import MEAN, STD, some_images

from midas.data.augment import Augment
from midas.data.config import AugmentConfig

IMAGENET = AugmentConfig(
    crop_scale=0.08, color_jitter=(0.4, 0.4, 0.4, 0.2), rand_augment="rand-m9-mstd0.5", flip=True
)


def test_an_image_is_augmented_in_the_same_way_in_any_batch():
    augment, images = Augment(IMAGENET, MEAN, STD), some_images(6, 16, 16)
    draws = augment.draw(images.shape, torch.Generator().manual_seed(0))
    whole = augment.apply(images, draws)
    half = augment.apply(images[3:], type(draws)(*(draw[..., 3:] for draw in draws)))
    assert torch.equal(whole[3:], half)
    assert whole.is_contiguous(memory_format=torch.channels_last)


def test_different_seeds_give_different_images_and_leave_the_global_generators_alone():
    augment, images = Augment(IMAGENET, MEAN, STD), some_images(6, 16, 16)
    random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), torch.rand(1)
    random.seed(5)
    torch.manual_seed(5)
    first, second = (augment(images, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert (random.random(), torch.rand(1)) == expected
    assert not torch.equal(first, second)


def test_a_random_crop_leaves_an_image_of_one_colour_as_it_is():
    images = torch.full((4, 3, 16, 16), 100, dtype=torch.uint8)
    plain = Augment(AugmentConfig(crop_scale=0.08), MEAN, STD)(
        images, torch.Generator().manual_seed(0)
    )
    assert torch.equal(plain, Augment(AugmentConfig(), MEAN, STD)(images, torch.Generator()))


def test_two_ways_to_crop_are_refused():
    with pytest.raises(ValidationError, match="two ways to crop"):
        AugmentConfig(pad=4, crop_scale=0.08)
