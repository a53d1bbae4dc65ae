"""The models that timm knows after `import midas`: one generic entry, and the published cells of `midas/zoo.json`.

`midas_network` takes its genotype from `model_args` in a model folder's config.json, which makes every folder
self-describing: ``timm.create_model("local-dir:models/NAME", pretrained=True)``.

Names: ``midas_<cell>_cifar``, ``midas_<cell>_imagenet``, ``midas_nb201_<cell>``. Each cell's source stands in the JSON.
"""

from collections.abc import Callable
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from midas.genotype import Genotype
from midas.nets import zoo_table
from midas.nets.build import build_network
from midas.nets.network import MidasNet

GENERIC = "midas_network"
ZOO = zoo_table.read()
PAPER_SIZE: dict[str, dict[str, Any]] = {  # the published width and depth of each skeleton
    "cifar": {"channels": 36, "cells": 20, "skeleton": "cifar"},
    "imagenet": {"channels": 48, "cells": 14, "skeleton": "imagenet"},
    "nasbench201": {"channels": 16, "cells": 5, "skeleton": "cifar"},
}
_CIFAR = {
    "input_size": (3, 32, 32),
    "pool_size": (8, 8),
    "num_classes": 10,
    "crop_pct": 1.0,
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2470, 0.2435, 0.2616),
}
_IMAGENET = {
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "num_classes": 1000,
    "crop_pct": 0.875,
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
}


def _cfg(skeleton: str, **origin: Any) -> dict[str, Any]:
    """timm's default configuration of a skeleton."""
    size = _IMAGENET if skeleton == "imagenet" else _CIFAR
    return {**size, "interpolation": "bilinear", "first_conv": "stem0.0", "classifier": "classifier", **origin}


def _origin(cell: str) -> dict[str, Any]:
    """Where a published cell comes from, under timm's keys."""
    entry = ZOO[cell]
    paper = entry["paper"].replace("arXiv ", "arXiv:")
    return {
        "license": entry["licence"],
        "origin_url": entry["origin"],
        "paper_ids": paper,
        "description": entry["what"],
    }


def _own(cell: str, skeleton: str) -> dict[str, Any]:
    """What a found cell's own data say in place of the skeleton's defaults."""
    own: dict[str, Any] = ZOO[cell]["skeletons"][skeleton].get("cfg", {})
    if not own:
        return {}
    _, height, width = own["input_size"]
    factor = 32 if skeleton == "imagenet" else 4
    return {**own, "input_size": tuple(own["input_size"]), "pool_size": (-(-height // factor), -(-width // factor))}


MODELS = {
    zoo_table.model_name(cell, skeleton): (cell, skeleton)
    for cell, entry in ZOO.items()
    for skeleton in entry["skeletons"]
}
default_cfgs = generate_default_cfgs(
    {GENERIC: _cfg("cifar")}
    | {name: _cfg(skeleton, **_origin(cell), **_own(cell, skeleton)) for name, (cell, skeleton) in MODELS.items()}
)


def _network(genotype: dict[str, Any], **kwargs: Any) -> MidasNet:
    """A network from the JSON value of its genotype: what timm can store in config.json and hand back."""
    return build_network(Genotype.from_value(genotype), **kwargs)


def _create(name: str, pretrained: bool, **kwargs: Any) -> Any:
    """The model as timm's helper builds it: configuration, weights, feature extraction."""
    # the number of map sizes is the skeleton's: 4, 8, 16, 32 or 1, 2, 4 times smaller than the image
    out_indices = tuple(range(4 if kwargs["skeleton"] == "imagenet" else 3))
    features = {"feature_cls": "hook", "out_indices": out_indices}  # cells have two inputs, so no nn.Sequential
    return build_model_with_cfg(_network, name, pretrained, feature_cfg=features, **kwargs)


@register_model  # type: ignore[untyped-decorator]  # timm is not typed
def midas_network(pretrained: bool = False, **kwargs: Any) -> Any:
    """A network of any genotype: `genotype` (JSON value), `channels`, `cells`, `skeleton`, and timm's arguments.

    Without them it is a small DARTS_V2, so that the name can be created like any other.
    """
    defaults = {"genotype": ZOO["darts_v2"]["genotype"], "channels": 16, "cells": 8, "skeleton": "cifar"}
    return _create(GENERIC, pretrained, **{**defaults, **kwargs})


def _register(name: str, cell: str, skeleton: str) -> None:
    """Register a cell at the size it was published or found at; arguments may change the size, not the cell."""
    size = {**PAPER_SIZE[skeleton], **ZOO[cell]["skeletons"][skeleton].get("size", {})}

    def entry(pretrained: bool = False, **kwargs: Any) -> Any:
        arguments = {**size, **kwargs, "genotype": ZOO[cell]["genotype"]}
        return _create(name, pretrained, **arguments)

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = (
        f"{ZOO[cell]['what'][:1].upper()}{ZOO[cell]['what'][1:]}, {skeleton} skeleton ({ZOO[cell]['paper']})."
    )
    function: Callable[..., Any] = entry
    globals()[name] = register_model(function)


for _name, (_cell, _skeleton) in MODELS.items():
    _register(_name, _cell, _skeleton)
