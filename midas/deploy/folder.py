"""Opening a model folder for shipping: the network, its configuration, and whether they belong to the data at hand."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from torch import nn

from midas.data.config import MAX_SIZE, MIN_SIZE
from midas.data.prepared import DataMeta
from midas.nets.folder import CONFIG, load_model_folder
from midas.runs import files
from midas.runs.errors import ModelFolderError

Triple = tuple[float, float, float]
_Side = Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)]


class _Preprocessing(BaseModel):
    """What shipping needs of timm's pretrained_cfg."""

    input_size: tuple[Literal[3], _Side, _Side]
    mean: Triple
    std: Triple
    crop_pct: float = Field(ge=0.1, le=1)
    crop_mode: Literal["center"]
    interpolation: Literal["bilinear"]


class _Config(BaseModel):
    """What shipping needs of config.json."""

    num_classes: int
    label_names: list[str]
    pretrained_cfg: _Preprocessing


def open_model_folder(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a model folder in evaluation mode, and its config.json.

    Raises:
        ModelFolderError: a file is missing or damaged, weights do not fit the genotype, or config.json lacks or
            contradicts what shipping needs.
    """
    model = load_model_folder(folder)
    config: dict[str, Any] = files.read_json(folder / CONFIG)
    try:
        checked = _Config.model_validate(config)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise ModelFolderError(f"{folder / CONFIG}: {key}: {fault['msg']}; run the build stage again") from error
    if len(checked.label_names) != checked.num_classes:
        raise ModelFolderError(
            f"{folder / CONFIG}: has {len(checked.label_names)} label_names for {checked.num_classes} classes; "
            "run the build stage again"
        )
    return model, config


def check_data(folder: Path, config: dict[str, Any], meta: DataMeta) -> None:
    """Raise ModelFolderError unless a folder's configuration is that of the prepared data."""
    image = config["pretrained_cfg"]
    pairs = {
        "label_names": (config["label_names"], meta.classes),
        "input_size": (image["input_size"], (3, meta.size, meta.size)),
        "mean": (image["mean"], meta.mean),
        "std": (image["std"], meta.std),
    }
    for key, (of_model, of_data) in pairs.items():
        if list(of_model) != list(of_data):
            raise ModelFolderError(
                f"{folder / CONFIG}: {key} is not that of the prepared data; run the train and build stages again"
            )
