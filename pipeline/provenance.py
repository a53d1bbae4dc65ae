"""Where a genotype came from. It stands beside the genotype, whose bytes DVC hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy
import torch

from midas.engine.checkpoint import fingerprint
from pipeline import params

ROOMS = [Path("midas", room) for room in ("data", "decode", "proxy", "search", "spaces")]
SECTIONS = ("space", "seeds", "search", "decode")  # a genotype follows from them


def collect(kept_seed: int | None, data_fingerprint: str) -> dict[str, Any]:
    """Parameters, seeds, fingerprints of data and code, and versions; no dates and no paths."""
    everything = params.read()
    parameters = {name: everything.get(name) for name in SECTIONS}
    search = dict(parameters["search"] or {})
    if search.get("genotype"):  # not searched
        parameters["search"] = {**search, "genotype": Path(search["genotype"]).name}
    text = json.dumps(parameters, sort_keys=True)
    return {
        "parameters": parameters,
        "parameters_hash": hashlib.sha256(text.encode()).hexdigest(),
        "seeds": everything.get("seeds"),
        "kept_seed": kept_seed,
        "data_fingerprint": data_fingerprint,
        "code_fingerprint": fingerprint({}, ROOMS),
        "versions": {"torch": torch.__version__, "numpy": numpy.__version__},
    }
