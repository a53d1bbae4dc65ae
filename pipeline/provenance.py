"""Where a genotype came from: written beside it, never into it, since DVC hashes the genotype's bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy
import torch

from midas.runs.checkpoint import fingerprint
from pipeline import params

PACKAGE = Path("midas")
SECTIONS = ("space", "seeds", "search", "decode")  # what a genotype follows from


def collect(kept_seed: int | None, data_fingerprint: str) -> dict[str, Any]:
    """Parameters' hash, seeds, data fingerprint, code version, library versions; no dates and no paths.

    `kept_seed` is None for a cell that was not searched, of which the parameters name the file, without its folder.
    """
    everything = params.read()
    parameters = {name: everything.get(name) for name in SECTIONS}
    search = dict(parameters["search"] or {})
    if search.get("genotype"):
        parameters["search"] = {**search, "genotype": Path(search["genotype"]).name}
    return {
        "parameters": parameters,
        "parameters_hash": hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest(),
        "seeds": everything.get("seeds"),
        "kept_seed": kept_seed,
        "data_fingerprint": data_fingerprint,
        "code_fingerprint": fingerprint({}, [PACKAGE / room for room in ("search", "spaces", "data", "runs")]),
        "versions": {"torch": torch.__version__, "numpy": numpy.__version__},
    }
