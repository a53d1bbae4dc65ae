"""Giving a found cell a name in the zoo, and a model folder a place on the Hugging Face hub."""

import json
import re
from pathlib import Path
from typing import Any

from midas.genotype import load_genotype
from midas.nets import zoo_table
from midas.nets.card import read_provenance
from midas.nets.complexity import count_macs, count_parameters
from midas.nets.folder import CARD, CONFIG, GENOTYPE, load_model_folder
from midas.runs import files
from midas.runs.errors import MidasError, ParamsError
from midas.spaces import get_space

PAPERS = {  # of the methods that find cells here
    "midas": "arXiv 2602.17700",
    "darts": "arXiv 1806.09055",
    "darts-pairs": "arXiv 1806.09055",
    "drnas": "arXiv 2006.10355",
    "gdas": "arXiv 1910.04465",
    "beta-darts": "arXiv 2203.01665",
    "random": "arXiv 1902.07638",
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def add(folder: Path, name: str | None = None, accuracy: dict[str, Any] | None = None) -> list[str]:
    """Write the cell of a model folder into the zoo, with its size, costs, preprocessing and provenance; not its weights.

    Args:
        folder: models/NAME.
        name: of the cell; by default the folder's, with `_` for what a name may not hold.
        accuracy: ``{"value": 0.99, "on": "test split of digits"}`` where it was measured.

    Returns:
        The registered names, which timm knows from the next `import midas` on.

    Raises:
        ModelFolderError: the folder is incomplete or contradicts itself.
        ParamsError: the name is no name, or belongs to another cell.
    """
    model, config = load_model_folder(folder), files.read_json(folder / CONFIG)
    genotype = load_genotype(folder / GENOTYPE)
    name = name or re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    nasbench201 = get_space(genotype.space).skeleton == "nasbench201"
    if nasbench201 and not name.startswith("nb201_"):
        name = f"nb201_{name}"
    if not _NAME.fullmatch(name):
        raise ParamsError(f"zoo add: {name!r} is no name; --name takes small letters, digits and _")
    cells = zoo_table.read()
    value, provenance = json.loads(genotype.to_json()), read_provenance(folder / CARD)
    if name in cells and (cells[name]["origin"] != _origin(folder) or cells[name]["genotype"] != value):
        raise ParamsError(f"zoo add: {name} is already another cell, from {cells[name]['origin']}; say another --name")
    searched = provenance.get("kept_seed") is not None
    arm = (provenance.get("parameters", {}).get("search") or {}).get("arm", "midas")
    how = f"found by this project's pipeline, arm {arm}" if searched else "given to this project's pipeline"
    arguments, image = config["model_args"], config["pretrained_cfg"]
    skeleton = "nasbench201" if nasbench201 else arguments.get("skeleton", "cifar")
    costs = {
        "size": {key: arguments[key] for key in ("channels", "cells")},
        "cfg": {
            "num_classes": config["num_classes"],
            **{key: list(image[key]) for key in ("input_size", "mean", "std")},
        },
        "parameters": count_parameters(model),
        "macs": count_macs(model, tuple(image["input_size"])),
        **({"accuracy": accuracy} if accuracy else {}),
    }
    cells[name] = {
        "origin": _origin(folder),
        "licence": "Apache-2.0",  # of the cell as the zoo has it; weights stay with their owner
        "paper": PAPERS[arm] if searched else "",
        "what": f"the cell of the model {folder.resolve().name}, {how}",
        "provenance": provenance,
        "genotype": value,
        "skeletons": {skeleton: costs},
    }
    files.write_text(zoo_table.PATH, zoo_table.dump(cells))
    return [zoo_table.model_name(name, skeleton)]


def push(folder: Path, repo: str) -> str:
    """Put a model folder on the Hugging Face hub, as it is: its config and weights are in timm's own layout.

    Args:
        folder: models/NAME.
        repo: ``user/name``; it is made, private, where it does not exist.

    Returns:
        The address.

    Raises:
        ModelFolderError: the folder is incomplete or contradicts itself.
        MidasError: there is no token, or the hub refuses.
    """
    from huggingface_hub import HfApi, get_token

    load_model_folder(folder)  # nothing broken is sent
    if get_token() is None:
        raise MidasError("push: there is no Hugging Face token; run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        api.create_repo(repo, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, ignore_patterns=["latency.json", ".*"]))
    except Exception as error:  # the hub's errors, and those of the connection
        raise MidasError(f"push: {repo}: the hub refused or cannot be reached ({_line(error)})") from error


def _origin(folder: Path) -> str:
    """Where a found cell is from, without a path of this machine."""
    return f"models/{folder.resolve().name}"


def _line(error: Exception) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
