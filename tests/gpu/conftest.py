"""Tests of the GPU path compute as the stages do."""

import gc
from collections.abc import Iterator

import pytest
import torch

from midas.engine import seeding


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """As every stage is; and what earlier tests left on the GPU is gone."""
    seeding.deterministic()
    gc.collect()
    yield
    torch.use_deterministic_algorithms(False)
