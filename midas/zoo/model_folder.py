"""Model folders: a genotype, weights and timm's config.json, which are enough to load the model.

After `import midas`, ``timm.create_model("local-dir:models/NAME", pretrained=True)`` loads one.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import timm
from pydantic import BaseModel, Field, ValidationError, model_validator
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import Tensor, nn

from midas.data.config import MAX_SIZE, MIN_SIZE
from midas.data.prepared import DataMeta, with_normalisation
from midas.genotype import Genotype, load_genotype, save_genotype
from midas.io import files
from midas.io.errors import MidasError, ModelFolderError, reason
from midas.nets import timm_models
from midas.nets.network import MidasNet
from midas.nets.timm_models import CONFIG, WEIGHTS
from midas.zoo.registry import GENERIC

GENOTYPE = "genotype.json"
CARD = "README.md"
Model = TypeVar("Model", bound=nn.Module)
_Side = Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)]
_AGAIN = "run the build stage again"
_OF_TIMM = {"num_classes", "in_chans", "global_pool", "img_size", "drop_path_rate"}  # model_args


class _Preprocessing(BaseModel):
    """The keys of `pretrained_cfg` that say how an image becomes an input."""

    input_size: tuple[Literal[3], _Side, _Side]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_pct: float = Field(ge=0.1, le=1)
    crop_mode: Literal["center"]
    interpolation: Literal["bilinear"]


class _Config(BaseModel):
    """The keys of config.json that a model folder needs."""

    architecture: str
    model_args: dict[str, Any]
    num_classes: int
    label_names: list[str]
    pretrained_cfg: _Preprocessing

    @model_validator(mode="after")
    def _known(self) -> "_Config":
        """Refuse what another registered function would build, or a timm model of unusual size."""
        if self.architecture != GENERIC:
            timm_models.check_name(self.architecture)
            sizes = {
                "num_classes": self.num_classes,
                "img_size": list(self.pretrained_cfg.input_size[1:]),
            }
            for key, value in self.model_args.items():
                if key not in _OF_TIMM or value != sizes.get(key, value):
                    raise ValueError(f"model_args: {key} is not allowed, or not as elsewhere here")
        return self


def build_trained(
    genotype: Genotype,
    weights: Mapping[str, Tensor],
    meta: DataMeta,
    *,
    channels: int,
    cells: int,
    skeleton: str,
) -> MidasNet:
    """The trained network as timm builds it; ModelFolderError for weights of another network."""
    value = json.loads(genotype.to_json())
    size = {"channels": channels, "cells": cells, "skeleton": skeleton}
    classes = len(meta.classes)
    model: MidasNet = timm.create_model(GENERIC, num_classes=classes, genotype=value, **size)
    return with_trained(model, weights, meta)


def with_trained(model: Model, weights: Mapping[str, Tensor], meta: DataMeta) -> Model:
    """A model with its trained weights, as `build_trained` returns it."""
    _load_weights(model, weights, "the trained weights")
    image = cast(Any, model).pretrained_cfg
    for key in ("test_input_size", "test_crop_pct", "min_input_size", "label_offset"):
        image.pop(key, None)  # they belong to weights that are not in the folder
    image.update(
        input_size=(3, meta.size, meta.size),
        pool_size=None,
        mean=meta.mean,
        std=meta.std,
        crop_pct=1.0,
        crop_mode="center",
        interpolation="bilinear",
        num_classes=len(meta.classes),
    )
    return model.eval()


def save_model_folder(
    folder: Path,
    model: nn.Module,
    genotype: Genotype | None,
    meta: DataMeta,
    card: str,
    own_normalisation: bool = False,
) -> None:
    """Write genotype.json, config.json, model.safetensors and README.md, each whole or not at all.

    A timm model has no genotype. `own_normalisation` says that mean and deviation came with the
    weights.
    """
    with tempfile.TemporaryDirectory() as name:
        labels = {"label_names": list(meta.classes), "own_normalisation": own_normalisation}
        save_for_hf(model, name, model_config=labels, safe_serialization=True)
        files.write_json(folder / CONFIG, files.read_json(Path(name, CONFIG)))
        files.write_bytes(folder / WEIGHTS, Path(name, WEIGHTS).read_bytes())
    if genotype is None:
        (folder / GENOTYPE).unlink(missing_ok=True)
    else:
        save_genotype(folder / GENOTYPE, genotype)
    files.write_text(folder / CARD, card)


def open_model_folder(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The model of a folder, in evaluation mode, and its config.json; raises ModelFolderError."""
    _need(folder, CONFIG, WEIGHTS)
    config = _read_config(folder)
    try:
        model: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=False)
        weights = load_file(folder / WEIGHTS)
    except Exception as error:  # timm and safetensors have no common class for damaged files
        raise ModelFolderError(f"{folder}: cannot be loaded ({reason(error)})") from error
    _load_weights(model, weights, f"{folder / WEIGHTS}: the weights")
    return model.eval(), config


def _need(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise ModelFolderError(f"{folder}: {name} is missing; {_AGAIN}, or `dvc pull`")


def network_id(folder: Path, config: Mapping[str, Any]) -> str:
    """What a folder's ONNX file says of its network: the genotype's hash, or timm's name."""
    name = str(config["architecture"])
    return load_genotype(folder / GENOTYPE).hash if name == GENERIC else f"timm {name}"


def check_data(folder: Path, config: Mapping[str, Any], meta: DataMeta) -> DataMeta:
    """The prepared data with the folder's normalisation; ModelFolderError where the two differ."""
    image = config["pretrained_cfg"]
    if config.get("own_normalisation"):
        meta = with_normalisation(meta, image)
    pairs = {
        "label_names": (config["label_names"], meta.classes),
        "input_size": (image["input_size"], (3, meta.size, meta.size)),
        "mean": (image["mean"], meta.mean),
        "std": (image["std"], meta.std),
    }
    for key, (of_model, of_data) in pairs.items():
        if list(of_model) != list(of_data):
            problem = f"{folder / CONFIG}: {key} is not that of the prepared data"
            raise ModelFolderError(f"{problem}; run the train and build stages again")
    return meta


def _read_config(folder: Path) -> dict[str, Any]:
    """A folder's config.json, complete and with the genotype of genotype.json."""
    path = folder / CONFIG
    try:
        value: dict[str, Any] = files.read_json(path)
        config = _Config.model_validate(value)
        is_same = True
        if config.architecture == GENERIC:
            _need(folder, GENOTYPE)
            genotype = Genotype.from_value(config.model_args.get("genotype"))
            is_same = genotype == load_genotype(folder / GENOTYPE)
    except ModelFolderError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ModelFolderError(f"{path}: {key}: {first['msg']}; {_AGAIN}") from error
    except MidasError as error:
        raise ModelFolderError(f"{folder}: cannot be used ({error})") from error
    if not is_same:
        raise ModelFolderError(f"{folder}: {CONFIG} and {GENOTYPE} hold different genotypes")
    if len(config.label_names) != config.num_classes:
        counts = f"{len(config.label_names)} label_names for {config.num_classes} classes"
        raise ModelFolderError(f"{path}: has {counts}; {_AGAIN}")
    return value


def _load_weights(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        problem = f"do not fit the network and its size ({reason(error)[:200]})"
        raise ModelFolderError(f"{name} {problem}") from error


def push(folder: Path, repo: str) -> str:
    """Put a model folder on the Hugging Face hub as it is; a new repository is private."""
    from huggingface_hub import HfApi, get_token

    open_model_folder(folder)  # a broken folder must not be sent
    if get_token() is None:
        raise MidasError("push: no Hugging Face token found; run `hf auth login` or set HF_TOKEN")
    api = HfApi()
    ignored = ["latency.json", ".*"]
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns=ignored))
    except Exception as error:  # those of the hub and of the connection have no common class
        problem = f"the hub refused or is out of reach ({reason(error)})"
        raise MidasError(f"push: {repo}: {problem}") from error
