"""Models of timm as networks of this project: their names, creation and weights to start from."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
from timm.models import load_model_config_from_hf, load_state_dict
from torch import Tensor, nn

from midas.io import files
from midas.io.errors import MidasError, ParamsError, listed, reason

Weights = dict[str, Tensor]
CONFIG = "config.json"  # of a model folder, in timm's layout
WEIGHTS = "model.safetensors"


def check_name(name: str) -> None:
    """Raise ParamsError, with the nearest names, where timm itself has no such model."""
    if not timm.is_model(name) or name.startswith("midas_"):
        known = timm.list_models(exclude_filters="midas_*")
        near = ", ".join(difflib.get_close_matches(name.partition(".")[0], known))
        advice = f"the nearest names are {near}" if near else "timm.list_models() names all"
        raise ParamsError(f"model: {name[:80]!r} is not a model of timm; {advice}")


def create(name: str, num_classes: int, size: int, source: str = "", **options: Any) -> nn.Module:
    """A model of timm for square RGB images of `size` pixels, weights from torch's generator.

    `source` may name one of the hub. Raises ParamsError for an unknown name or unfit options.
    """
    check_name(name)
    if timm.get_pretrained_cfg(name).fixed_input_size:  # e.g. of a transformer's positions
        options["img_size"] = size
    try:
        model = timm.create_model(source or name, num_classes=num_classes, **options)
    except (TypeError, ValueError, AssertionError) as error:  # for arguments that do not fit
        text = f"cannot be built for {size} pixels with {list(options)} ({reason(error)})"
        raise ParamsError(f"model: {name}: {text}") from error
    return cast(nn.Module, model)


def create_pretrained(
    name: str, source: str, num_classes: int, size: int, **options: Any
) -> nn.Module:
    """A model of timm with weights; a classifier of another number of classes is left new.

    Its `pretrained_cfg` has the `mean` and `std` of the weights. `source` is as for `read_weights`,
    or what alone downloads: ``timm`` or ``hf-hub:USER/NAME``. Raises ParamsError as `create` does,
    and MidasError for weights that are missing, unreadable or of another architecture.
    """
    try:
        if source == "timm" or source.startswith("hf-hub:"):
            return _download(name, source, num_classes, size, **options)
        weights, image = read_weights(Path(source))
        plain = create(name, timm.get_pretrained_cfg(name).num_classes, size)
        shapes = [tensor.shape for tensor in weights.values()]
        state = plain.state_dict()
        if not weights.keys() & state.keys() and shapes == [t.shape for t in state.values()]:
            weights = dict(zip(state, weights.values(), strict=True))  # under other names
        classifier = cast(Any, plain).pretrained_cfg["classifier"]
        heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        check_names(source, weights, state, heads)
        # a count that differs from `num_classes` makes timm leave the classifier out
        count = next((len(weights[k]) for k in weights if k in {f"{h}.bias" for h in heads}), -1)
        overlay = {"state_dict": weights, "num_classes": count, "label_offset": 0, **image}
        model = create(
            name, num_classes, size, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )
    except RuntimeError as error:  # the shapes differ
        raise MidasError(f"weights: {source}: do not fit {name} ({reason(error)[:150]})") from error
    cast(Any, model).pretrained_cfg.pop("state_dict")
    return model


def _download(name: str, source: str, num_classes: int, size: int, **options: Any) -> nn.Module:
    hub = "" if source == "timm" else source
    try:
        architecture = load_model_config_from_hf(hub.removeprefix("hf-hub:"))[1] if hub else name
        if architecture.partition(".")[0] != name.partition(".")[0]:
            raise ParamsError(f"weights: {source}: is a {architecture}, and model says {name}")
        return create(name, num_classes, size, hub, pretrained=True, **options)
    except ParamsError:
        raise
    except Exception as error:  # those of the hub and of the connection have no common class
        advice = "connect, or put the file here and name its path"
        text = f"{name} cannot be fetched ({reason(error)[:120]}); {advice}"
        raise MidasError(f"weights: {source}: {text}") from error


def read_weights(path: Path) -> tuple[Weights, dict[str, Any]]:
    """The tensors of a model folder or a file, and the `mean` and `std` that a folder names.

    Raises MidasError where they are missing or damaged, or unpickling them could run code.
    """
    image = {}
    try:
        if path.is_dir():
            image = {
                k: files.read_json(path / CONFIG)["pretrained_cfg"][k] for k in ("mean", "std")
            }
            path = path / WEIGHTS
        if not path.is_file():
            raise FileNotFoundError  # which timm would log, too
        weights: Weights = load_state_dict(str(path), weights_only=True)
        if not weights or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
            raise TypeError("it is no mapping of names to tensors")
    except FileNotFoundError as error:
        text = "there is no such file; name a file of weights or a model folder"
        raise MidasError(f"weights: {path}: {text}") from error
    except Exception as error:  # the libraries have no common class for damaged files
        text = "cannot be read as tensors alone, and anything else could run code"
        raise MidasError(f"weights: {path}: {text} ({reason(error)[:120]})") from error
    return weights, image


def check_names(
    source: str, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], heads: tuple[str, ...]
) -> None:
    """Raise MidasError where weights lack tensors, other than those of `heads`, or have others."""
    free = tuple(f"{head}." for head in heads)
    differing = {"lacks": state.keys() - weights.keys(), "has": weights.keys() - state.keys()}
    for text, keys in differing.items():
        names = [k for k in keys if not k.startswith(free) and not k.endswith("batches_tracked")]
        if names:
            shown = listed(sorted(names))
            raise MidasError(f"weights: {source}: is of another architecture: {text} {shown}")
