"""What all tests share: offline, one thread, no spinning; small real data."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from midas.data.config import DataConfig
from midas.data.prepare import prepare
from midas.data.prepared import DataMeta, Split, load_split

settings.register_profile("midas", deadline=None, derandomize=True)
settings.load_profile("midas")


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits at 8x8, prepared by the data room."""
    folder = tmp_path_factory.mktemp("digits")
    prepare(DataConfig(source="digits", image_size=8), folder)
    return folder


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> tuple[Split, Split, DataMeta]:
    """Train and validation split of the digits, and what is known about them."""
    from midas.data.prepared import load_meta

    return (
        load_split(digits_folder / "train.safetensors"),
        load_split(digits_folder / "val.safetensors"),
        load_meta(digits_folder / "meta.json"),
    )
