"""Whether a file that takes photographs answers as Pillow's path does, at several sizes.

python benchmarks/image_input.py MODEL_FOLDER IMAGE_FOLDER exports the folder's network with
`input: image` and runs each photograph as it is and scaled to 300 x 450 and 60 x 400 pixels.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from midas.data.augment import normalise
from midas.deploy import predict
from midas.deploy.export import describe, export_onnx
from midas.deploy.interface import Interface
from midas.deploy.runtimes import run_torch
from midas.zoo.model_folder import open_model_folder

SIZES = {"as they are": None, "300 x 450": (450, 300), "60 x 400": (400, 60)}


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    network, config = open_model_folder(options.model)
    image = config["pretrained_cfg"]
    interface = Interface(tuple(image["mean"]), tuple(image["std"]), "image")
    metadata = describe(config, "", "", interface)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export_onnx(
            network, path, input_size=image["input_size"], metadata=metadata, interface=interface
        )
        session = predict.open_session(path)
    resize = json.loads(metadata["midas_input"])["resize"]
    paths = list(predict.find_images([str(options.images)], predict.Failures()))
    print("size         images  same class  largest difference of a logit  of the range")
    for name, size in SIZES.items():
        photos = [predict.to_rgb(Image.open(path)) for path in paths]
        photos = [photo.resize(size) if size else photo for photo in photos]
        fitted = [predict.fit(photo, resize, *image["input_size"][1:]) for photo in photos]
        pixels = torch.from_numpy(np.stack([*map(np.asarray, fitted)])).permute(0, 3, 1, 2)
        expected = run_torch(network, normalise(pixels, interface.mean, interface.std), 32)
        outputs = [session.run(None, {"image": np.asarray(photo)[None]})[0] for photo in photos]
        actual = torch.from_numpy(np.concatenate(outputs))
        same = (actual.argmax(1) == expected.argmax(1)).double().mean()
        largest = float((actual - expected).abs().max())
        span = float(expected.max() - expected.min())
        print(f"{name:12} {len(paths):6} {same:11.2%}  {largest:29.4f}  {largest / span:12.4%}")


if __name__ == "__main__":
    main()
