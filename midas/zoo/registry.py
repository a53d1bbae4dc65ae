"""The models that timm knows after `import midas`: a generic one, and the cells of zoo.json.

`midas_network` takes its genotype from the config.json of a model folder.
"""

from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from midas.genotype import Genotype
from midas.nets.build import build_network
from midas.nets.network import MidasNet
from midas.zoo import table

GENERIC = "midas_network"
ZOO = table.read()
MODELS = {
    table.model_name(cell, skeleton): (cell, skeleton)
    for cell, entry in ZOO.items()
    for skeleton in entry["skeletons"]
}
PAPER_SIZE: dict[str, dict[str, Any]] = {  # the published width and depth of each skeleton
    "cifar": {"channels": 36, "cells": 20, "skeleton": "cifar"},
    "imagenet": {"channels": 48, "cells": 14, "skeleton": "imagenet"},
    "nasbench201": {"channels": 16, "cells": 5, "skeleton": "cifar"},
}
_CIFAR: dict[str, Any] = {
    "input_size": (3, 32, 32),
    "pool_size": (8, 8),
    "num_classes": 10,
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
    "first_conv": "stem0.0",
    "classifier": "classifier",
}
_IMAGENET: dict[str, Any] = {
    **_CIFAR,
    "input_size": (3, 224, 224),
    "num_classes": 1000,
    "crop_pct": 0.875,
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
}


def _cell_cfg(cell: str, skeleton: str) -> dict[str, Any]:
    entry = ZOO[cell]
    stride = 32 if skeleton == "imagenet" else 4
    image = _IMAGENET if skeleton == "imagenet" else _CIFAR
    # A cell that this project found keeps the image size and statistics of its own data.
    image = image | entry["skeletons"][skeleton].get("cfg", {})
    return {
        **image,
        "input_size": tuple(image["input_size"]),
        "pool_size": tuple(-(-side // stride) for side in image["input_size"][1:]),
        "license": entry["licence"],
        "origin_url": entry["origin"],
        "paper_ids": entry["paper"].replace("arXiv ", "arXiv:"),
        "description": entry["what"],
    }


default_cfgs = generate_default_cfgs(
    {GENERIC: _CIFAR} | {name: _cell_cfg(*model) for name, model in MODELS.items()}
)


def _build(genotype: dict[str, Any], **kwargs: Any) -> MidasNet:
    """A network from the JSON value of a genotype, which timm can store in config.json."""
    return build_network(Genotype.from_value(genotype), **kwargs)


def _create(name: str, pretrained: bool, **kwargs: Any) -> Any:
    """A model built by timm's helper, which adds configuration, weights and feature extraction."""
    # Features are the last maps of each size: 1/4 to 1/32 of the image (ImageNet), or 1 to 1/4.
    sizes = 4 if kwargs["skeleton"] == "imagenet" else 3
    # A cell has two inputs, so timm cannot wrap the network in nn.Sequential.
    features = {"feature_cls": "hook", "out_indices": tuple(range(sizes))}
    return build_model_with_cfg(_build, name, pretrained, feature_cfg=features, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm is not typed
def midas_network(pretrained: bool = False, **kwargs: Any) -> Any:
    """A network of any `genotype` (a JSON value), `channels`, `cells` and `skeleton`."""
    small = {"channels": 16, "cells": 8, "skeleton": "cifar"}
    defaults = {"genotype": ZOO["darts_v2"]["genotype"], **small}
    return _create(GENERIC, pretrained, **{**defaults, **kwargs})


def _register(name: str, cell: str, skeleton: str) -> None:
    """Register a cell at its published size; arguments may change the size but not the cell."""
    entry = ZOO[cell]
    size = {**PAPER_SIZE[skeleton], **entry["skeletons"][skeleton].get("size", {})}

    def create(pretrained: bool = False, **kwargs: Any) -> Any:
        return _create(name, pretrained, **{**size, **kwargs, "genotype": entry["genotype"]})

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{name}: {entry['what']}, {skeleton} skeleton ({entry['paper']})."
    globals()[name] = register_model(create)


for _name, _model in MODELS.items():
    _register(_name, *_model)
