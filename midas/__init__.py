"""MIDAS: mosaic input-specific differentiable architecture search (arXiv 2602.17700).

Importing the package registers its models with timm. The search, which a found network does not
need, is imported when one of its names is first used.
"""

import os
from typing import Any

# before torch: OpenMP's endless spinning stalls beside any busy process
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from midas import zoo
from midas.genotype import Genotype, load_genotype
from midas.nets.build import build_network

_LAZY = {"run_search": "midas.search.run", "decode": "midas.decode.decode"}

__all__ = ["Genotype", "build_network", "decode", "load_genotype", "run_search", "zoo"]


def __getattr__(name: str) -> Any:
    """`midas.run_search` and `midas.decode`, on first use."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'midas' has no attribute {name!r}")
