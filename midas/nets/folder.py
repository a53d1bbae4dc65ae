"""A model folder: genotype, weights and timm's config.json, which together need nothing else to be loaded.

``import midas; timm.create_model("local-dir:models/NAME", pretrained=True)`` gives the model back; `load_model_folder`
does the same with errors in one line.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import Tensor

from midas.data.prepared import DataMeta
from midas.genotype import Genotype, load_genotype, save_genotype
from midas.nets.network import MidasNet
from midas.nets.registry import GENERIC
from midas.runs import files
from midas.runs.errors import MidasError, ModelFolderError

CONFIG, WEIGHTS, GENOTYPE, CARD = "config.json", "model.safetensors", "genotype.json", "README.md"


def build_trained(
    genotype: Genotype, weights: Mapping[str, Tensor], meta: DataMeta, *, channels: int, cells: int, skeleton: str
) -> MidasNet:
    """The trained network as timm builds it, in evaluation mode, with the data's preprocessing in its configuration.

    Args:
        genotype: the cells.
        weights: a state dict of the network of that size.
        meta: classes, image size and statistics of the data it was trained on.
        channels: as for `build_network`.
        cells: likewise.
        skeleton: likewise.

    Raises:
        ModelFolderError: the weights are not of that network.
        GenotypeError, ParamsError: as `build_network`.
    """
    arguments = {"genotype": json.loads(genotype.to_json()), "channels": channels, "cells": cells, "skeleton": skeleton}
    model: MidasNet = timm.create_model(GENERIC, num_classes=len(meta.classes), **arguments)
    _load(model, weights, "the trained weights")
    model.pretrained_cfg.update(_preprocessing(meta))
    return model.eval()


def save_model_folder(folder: Path, model: MidasNet, genotype: Genotype, meta: DataMeta, card: str) -> None:
    """Write genotype.json, config.json, model.safetensors and README.md, each whole or not at all.

    Args:
        folder: models/NAME; other files in it are left alone.
        model: from `build_trained`.
        genotype: the model's.
        meta: gives the class names.
        card: the text of README.md.
    """
    with tempfile.TemporaryDirectory() as name:
        labels = {"label_names": list(meta.classes)}
        save_for_hf(model, name, model_config=labels, safe_serialization=True)
        files.write_json(folder / CONFIG, files.read_json(Path(name) / CONFIG))
        files.write_bytes(folder / WEIGHTS, (Path(name) / WEIGHTS).read_bytes())
    save_genotype(folder / GENOTYPE, genotype)
    files.write_text(folder / CARD, card)


def load_model_folder(folder: Path) -> MidasNet:
    """The model of a folder, in evaluation mode.

    Raises:
        ModelFolderError: a file is missing or damaged, or genotype, configuration and weights contradict each other.
    """
    for name in (CONFIG, WEIGHTS, GENOTYPE):
        if not (folder / name).is_file():
            raise ModelFolderError(f"{folder}: {name} is missing; run the build stage (`dvc repro`), or `dvc pull`")
    try:
        config = files.read_json(folder / CONFIG)
        arguments = config["model_args"]
        if config["architecture"] != GENERIC:  # timm would build any model of its own by this name
            raise ModelFolderError(f"{folder}: {CONFIG}: architecture must be {GENERIC}")
        if Genotype.from_value(arguments["genotype"]) != load_genotype(folder / GENOTYPE):
            raise ModelFolderError(f"{folder}: {CONFIG} and {GENOTYPE} hold different genotypes")
        model: MidasNet = timm.create_model(f"local-dir:{folder}", pretrained=False)
        weights = load_file(folder / WEIGHTS)
    except ModelFolderError:
        raise
    except (MidasError, KeyError, TypeError, ValueError) as error:
        raise ModelFolderError(f"{folder}: {CONFIG} cannot be used ({error})") from error
    except Exception as error:  # what timm and safetensors raise for a damaged file is theirs to choose
        raise ModelFolderError(f"{folder}: cannot be loaded ({' '.join(str(error).split())})") from error
    _load(model, weights, f"{folder / WEIGHTS}: the weights")
    return model.eval()


def _load(model: MidasNet, weights: Mapping[str, Tensor], what: str) -> None:
    """Put weights into a model, or say in one line why they do not fit."""
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        fault = " ".join(str(error).split())[:200]
        raise ModelFolderError(f"{what} do not fit the genotype and size they are said to be of ({fault})") from error


def _preprocessing(meta: DataMeta) -> dict[str, Any]:
    """How an image becomes the model's input, in timm's words: shorter side to `size`, centre crop, normalise."""
    return {
        "input_size": (3, meta.size, meta.size),
        "pool_size": None,
        "mean": meta.mean,
        "std": meta.std,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "num_classes": len(meta.classes),
    }
