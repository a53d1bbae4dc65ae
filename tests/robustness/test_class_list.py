"""A class list that changes between two stages run by hand is an error if labels change meaning.

Under `dvc repro` the class list cannot change unnoticed, because every stage depends on the data.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from midas.data.prepared import DataMeta, Split
from midas.decode.decode import decode, sample_weights
from midas.decode.monitor import decode_batches
from midas.io.errors import MidasError
from midas.search.config import SearchConfig
from midas.search.run import load_search, run_search, save_search
from midas.spaces import get_space
from midas.train.config import TargetConfig
from midas.train.run import train
from midas.train.start import initial_network
from midas.train.store import load_weights, save_training

SPACE = get_space("nasbench201")
SEARCH = SearchConfig(channels=2, cells=1, epochs=1, batch_size=8, monitor_images=8)
TARGET = TargetConfig(channels=2, cells=1, epochs=1, batch_size=8, auxiliary_weight=0, augment={})
META = DataMeta(("cat", "dog"), 8, (0.5,) * 3, (0.3,) * 3, {"train": 32}, "first", "test", {}, 0)
CHANGED = replace(META, classes=("cat", "dog", "emu"), fingerprint="second")


def split(classes: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (32, 8, 8, 3), generator=generator, dtype=torch.uint8)
    return Split(pixels.permute(0, 3, 1, 2), torch.arange(32) % classes)


def test_a_cell_may_be_trained_on_other_classes_but_old_weights_are_refused(tmp_path: Path) -> None:
    search = run_search(SPACE, SEARCH, split(2), META, seed=0)
    samples = sample_weights(search.supernet, search.method, decode_batches(split(2), META, 8))
    cell = decode(samples, SPACE.without(["none"]))
    training = train(initial_network(cell, TARGET, 3), TARGET, split(3), split(3), CHANGED)
    assert training.last["classifier.weight"].shape[0] == 3
    save_search(tmp_path / "search.safetensors", search)
    assert load_search(tmp_path / "search.safetensors", SPACE, SEARCH, 2)
    message = "was searched on data of 2 classes, and artifacts/data holds 3 now"
    with pytest.raises(MidasError, match=message):
        load_search(tmp_path / "search.safetensors", SPACE, SEARCH, 3)

    save_training(tmp_path, training)
    best = load_weights(tmp_path / "best.safetensors", CHANGED.fingerprint)
    assert best.keys() == training.best.keys()
    renamed = replace(CHANGED, classes=("dog", "cat", "emu"), fingerprint="third")
    with pytest.raises(MidasError, match="was trained on other data than artifacts/data holds now"):
        load_weights(tmp_path / "best.safetensors", renamed.fingerprint)
