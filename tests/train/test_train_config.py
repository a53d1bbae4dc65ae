"""A target's parameters are typed, bounded, and by default those of the published CIFAR recipe."""

import pytest
from pydantic import ValidationError

from midas.train.config import TargetConfig


def test_the_defaults_are_the_published_recipe() -> None:
    config = TargetConfig()
    assert (config.channels, config.cells, config.epochs, config.batch_size) == (36, 20, 600, 96)
    assert (config.learning_rate, config.min_learning_rate, config.momentum, config.nesterov) == (
        0.025,
        0,
        0.9,
        False,
    )
    assert (config.weight_decay, config.clip, config.drop_path, config.auxiliary_weight) == (
        3e-4,
        5,
        0.2,
        0.4,
    )
    assert config.augment.model_dump(exclude_defaults=True) == {
        "pad": 4,
        "flip": True,
        "cutout": 16,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"learning_rat": 0.1}, "Extra inputs"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"momentum": 1.0}, "less than 1"),
        ({"drop_path": 1.0}, "less than 1"),
        ({"batch_size": 1}, "greater than or equal to 2"),
        ({"skeleton": "vgg"}, "'cifar', 'imagenet' or 'fast'"),
        ({"schedule": "step"}, "'cosine', 'linear' or 'onecycle'"),
        ({"epochs": 5, "warmup_epochs": 5}, "leaves nothing"),
        ({"schedule": "onecycle", "warmup_epochs": 1}, "its own warm-up"),
        ({"batch_size": 96, "accumulate": 5}, "batch_size 96 cannot be divided"),
        ({"batch_size": 18, "accumulate": 2, "mixup": 0.2}, "must be even"),
        ({"min_learning_rate": 1.0}, "above learning_rate"),
    ],
)
def test_a_wrong_value_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TargetConfig(**arguments)
