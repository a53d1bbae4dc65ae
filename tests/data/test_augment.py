"""Augmenting a batch equals augmenting its images one by one with the same draws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import functional

from midas.data.augment import Augment, normalise
from midas.data.config import AugmentConfig
from midas.io.errors import ParamsError

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def some_images(batch: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    pixels = torch.randint(
        0, 256, (batch, height, width, 3), generator=torch.Generator().manual_seed(seed)
    )
    return pixels.to(torch.uint8).permute(0, 3, 1, 2)


def one_by_one(images, draws, config):
    """The reference: pad, crop, flip and normalise by torchvision, and the cutout of DARTS."""
    results = []
    _, _, height, width = images.shape
    for i, image in enumerate(images):
        (top, left), (y, x) = draws.offset[:, i].tolist(), draws.centre[:, i].tolist()
        mode = "reflect" if config.reflect else "constant"
        padded = functional.pad(image, [config.pad] * 4, padding_mode=mode)
        image = functional.crop(padded, top, left, height, width)
        image = functional.hflip(image) if config.flip and draws.mirror[i] else image
        image = functional.normalize(image.float() / 255, MEAN, STD)
        start_y, start_x = y - config.cutout // 2, x - config.cutout // 2
        rows = slice(max(start_y, 0), max(start_y + config.cutout, 0))
        image[:, rows, max(start_x, 0) : max(start_x + config.cutout, 0)] = 0
        results.append(image)
    return torch.stack(results)


@given(
    st.builds(
        AugmentConfig,
        pad=st.integers(0, 3),
        flip=st.booleans(),
        cutout=st.integers(0, 9),
        reflect=st.booleans(),
    ),
    st.integers(4, 9), st.integers(4, 9), st.integers(0, 2**31),
)  # fmt: skip
def test_a_batch_equals_its_images_one_by_one(config, height, width, seed):
    images = some_images(6, height, width, seed)
    augment = Augment(config, MEAN, STD)
    draws = augment.draw(images.shape, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        augment.apply(images, draws), one_by_one(images, draws, config), rtol=0, atol=0
    )


def test_a_reflection_wider_than_the_image_is_refused():
    augment = Augment(AugmentConfig(pad=8, reflect=True), MEAN, STD)
    with pytest.raises(ParamsError, match="pad: 8 must be below the image size"):
        augment(some_images(2, 8, 8), torch.Generator())


def test_a_call_draws_and_applies():
    augment = Augment(AugmentConfig(pad=2, flip=True, cutout=4), MEAN, STD)
    images = some_images(5, 8, 8)
    draws = augment.draw(images.shape, torch.Generator().manual_seed(7))
    assert torch.equal(
        augment(images, torch.Generator().manual_seed(7)), augment.apply(images, draws)
    )
    assert not torch.equal(
        augment(images, torch.Generator().manual_seed(8)), augment.apply(images, draws)
    )


def test_the_input_images_are_not_changed():
    images = some_images(5, 8, 8)
    before = images.clone()
    Augment(AugmentConfig(pad=2, flip=True, cutout=4), MEAN, STD)(images, torch.Generator())
    assert torch.equal(images, before)


def test_draws_cover_every_offset_and_mirror_half_of_the_images():
    draws = Augment(AugmentConfig(pad=2, flip=True), MEAN, STD).draw(
        (500, 3, 8, 8), torch.Generator().manual_seed(0)
    )
    assert draws.offset.unique().tolist() == [0, 1, 2, 3, 4]
    assert draws.centre.unique().tolist() == list(range(8))
    assert 0.4 < draws.mirror.float().mean() < 0.6


def test_without_augmentation_only_normalisation_remains():
    images = some_images(4, 6, 6)
    assert torch.equal(
        Augment(AugmentConfig(), MEAN, STD)(images, torch.Generator()), normalise(images, MEAN, STD)
    )


@pytest.mark.parametrize("config", [AugmentConfig(), AugmentConfig(pad=1, flip=True, cutout=2)])
def test_results_are_in_channels_last_memory(config):
    result = Augment(config, MEAN, STD)(some_images(4, 6, 6), torch.Generator())
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalised_pixels_have_mean_zero_and_deviation_one():
    images = some_images(32, 8, 8)
    pixels = images.float() / 255
    mean, std = pixels.mean((0, 2, 3)).tolist(), pixels.std((0, 2, 3), unbiased=False).tolist()
    result = normalise(images, mean, std)
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        result.std((0, 2, 3), unbiased=False), torch.ones(3), rtol=0, atol=1e-5
    )


def test_cutout_cuts_the_expected_area_around_centres_that_are_uniform_over_the_image():
    augment = Augment(AugmentConfig(cutout=16), (0.5,) * 3, (0.2,) * 3)
    images = torch.full((6400, 3, 32, 32), 255, dtype=torch.uint8)
    draws = augment.draw(images.shape, torch.Generator().manual_seed(0))
    cut = (augment.apply(images, draws)[:, 0] == 0).flatten(1).sum(1)
    # the square ends at the border
    sides = [min(centre + 8, 32) - max(centre - 8, 0) for centre in range(32)]
    rows, columns = (torch.tensor(sides)[centre] for centre in draws.centre)
    assert torch.equal(cut, rows * columns)
    # 200 are expected in each of 32 bins
    counts = torch.stack([centre.bincount(minlength=32) for centre in draws.centre])
    chi_square = ((counts - 200) ** 2 / 200).sum(1)
    assert (chi_square < 61).all()  # 31 degrees of freedom: once in a thousand
