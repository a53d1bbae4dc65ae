"""Publishing: a cell gets a name in the zoo, and a model folder goes to the Hugging Face hub."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midas.genotype import load_genotype
from midas.io import files
from midas.io.errors import MidasError, ParamsError
from midas.nets.build import count_macs, count_parameters
from midas.spaces import get_space
from midas.zoo import table
from midas.zoo.card import read_provenance
from midas.zoo.model_folder import CARD, GENOTYPE, open_model_folder, reason_of

PAPERS = {  # of the methods that find cells in this project
    "midas": "arXiv 2602.17700",
    "darts": "arXiv 1806.09055",
    "darts-pairs": "arXiv 1806.09055",
    "drnas": "arXiv 2006.10355",
    "gdas": "arXiv 1910.04465",
    "beta-darts": "arXiv 2203.01665",
    "random": "arXiv 1902.07638",
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def add(folder: Path, name: str | None = None, tested: Path | None = None) -> list[str]:
    """Write the cell of a model folder into `midas/zoo.json`, without its weights.

    Args:
        folder: models/NAME.
        name: the cell's name; by default the folder's, with `_` in place of other characters.
        tested: the folder of the evaluate stage. Its accuracy counts if it is of this model.onnx.

    Returns:
        The registered names, which timm knows from the next `import midas` on.

    Raises:
        ParamsError: the name is not valid or belongs to another cell, or this is not a clone.
    """
    if not Path("dvc.yaml").is_file():
        raise ParamsError("zoo add: it changes midas/zoo.json; run it in the root of a clone")
    model, config = open_model_folder(folder)
    value = json.loads(load_genotype(folder / GENOTYPE).to_json())
    model_name = folder.resolve().name
    origin = f"models/{model_name}"  # without the path on this machine
    is_nasbench201 = get_space(value["space"]).skeleton == "nasbench201"
    cells = table.read()
    default = re.sub(r"[^a-z0-9]+", "_", model_name.lower()).strip("_")
    name = _cell_name(name or default, is_nasbench201)
    known = cells.get(name)
    if known and (known["origin"], known["genotype"]) != (origin, value):
        problem = f"{name} is already the name of another cell, from {known['origin']}"
        raise ParamsError(f"zoo add: {problem}; choose another with --name")
    provenance = read_provenance(folder / CARD)
    method = _method(provenance)
    how = f"found by this project's pipeline, method {method}" if method else "not searched here"
    arguments = config["model_args"]
    image = {key: config["pretrained_cfg"][key] for key in ("input_size", "mean", "std")}
    costs = {
        "size": {key: arguments[key] for key in ("channels", "cells")},
        "cfg": {"num_classes": config["num_classes"], **image},
        "parameters": count_parameters(model),
        "macs": count_macs(model, tuple(image["input_size"])),
        **_accuracy(folder, tested),
    }
    skeleton = "nasbench201" if is_nasbench201 else arguments.get("skeleton", "cifar")
    cells[name] = {
        "origin": origin,
        "licence": "Apache-2.0",  # of the cell; its owner decides about the weights
        "paper": PAPERS.get(method, ""),
        "what": f"the cell of the model {model_name}, {how}",
        "provenance": provenance,
        "genotype": value,
        "skeletons": {skeleton: costs},
    }
    files.write_text(table.PATH, table.dump(cells))
    return [table.model_name(name, skeleton)]


def push(folder: Path, repo: str) -> str:
    """Put a model folder on the Hugging Face hub, as it is; return its address.

    The layout is timm's own. A repository ``user/name`` that does not exist is created, private.
    """
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
        reason = reason_of(error)[:200]
        raise MidasError(f"push: {repo}: the hub refused or is out of reach ({reason})") from error


def _cell_name(name: str, is_nasbench201: bool) -> str:
    """A valid name for a cell, or a ParamsError."""
    if is_nasbench201 and not name.startswith("nb201_"):
        name = f"nb201_{name}"
    if not _NAME.fullmatch(name):
        rule = "a-z, 0-9 and _, at most 40 characters, the first a letter"
        raise ParamsError(f"zoo add: {name!r} is not a valid name; --name takes {rule}")
    return name


def _accuracy(folder: Path, tested: Path | None) -> dict[str, Any]:
    """The accuracy of a folder's model.onnx on the test images, or nothing if it was not tested."""
    model = folder / "model.onnx"
    if tested is None or not (tested / "mistakes.json").is_file() or not model.is_file():
        return {}
    if files.read_json(tested / "mistakes.json").get("sha256") != files.sha256(model):
        return {}
    details = files.read_json(tested / "details.json")
    on = f"{details['images']:,} test images"
    return {"accuracy": {"value": details["accuracy_torch"], "on": on}}


def _method(provenance: Mapping[str, Any]) -> str:
    """The search method that found a cell, or nothing for a cell that was not searched."""
    if provenance.get("kept_seed") is None:
        return ""
    search = provenance.get("parameters", {}).get("search") or {}
    return str(search.get("method") or search.get("arm") or "midas")  # older folders say `arm`
