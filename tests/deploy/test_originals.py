"""Original images of any size in a file for photographs, beside Pillow's path."""

from pathlib import Path

import numpy as np
import pytest
from model_folders import META, split_of, write_model_folder
from PIL import Image

from midas.data import pictures
from midas.data.prepared import split_of_arrays
from midas.deploy.export import ExportConfig, read_calibration, read_metadata
from midas.deploy.export_folder import ship
from midas.deploy.onnx_evaluation import compare_originals, evaluate
from midas.deploy.runtimes import ParityError
from midas.io.errors import DataError
from midas.zoo.model_folder import open_model_folder


def test_original_images_get_the_class_that_they_get_after_pillow(tmp_path: Path) -> None:
    """Noise of any size and random weights, whose classes lie close together."""
    folder = write_model_folder(tmp_path / "small")
    config = ExportConfig(input="image", variants=("int8",), max_accuracy_loss=1)
    ship(folder, config, split_of(40, seed=1), META, "1.2.3", split_of(40, seed=3).images)
    draws = np.random.default_rng(0)
    sides = draws.integers(12, 90, (20, 2)).tolist()
    originals = [
        Image.fromarray(draws.integers(0, 256, (*pair, 3), dtype=np.uint8)) for pair in sides
    ]
    squares = [np.asarray(pictures.fit(image, META.size)) for image in originals]
    split = split_of_arrays(np.stack(squares), np.zeros(20, np.int64))
    path = folder / "model.onnx"
    interface = config.interface(
        META.mean, META.std, read_calibration(read_metadata(path))["temperature"]
    )
    network = open_model_folder(folder)[0]
    tested = evaluate(network, path, split, META, 1e-4, interface, threshold=0.3)
    assert 0 <= tested.metrics["coverage"] <= 1
    compared = compare_originals(path, originals, split, tested.expected)
    assert compared["class_agreement"] == 1
    assert 0 < compared["max_abs_difference"] < 0.1
    assert compared["accuracy"] == tested.metrics["accuracy_onnx"]
    with pytest.raises(DataError, match="test image 0 has changed"):
        compare_originals(path, originals[::-1], split, tested.expected)
    with pytest.raises(ParityError, match="original images"):
        compare_originals(path, originals, split, tested.expected.roll(1, 1))
