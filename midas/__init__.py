"""MIDAS: mosaic input-specific differentiable architecture search (arXiv 2602.17700), from images to a verified ONNX file.

Importing the package registers its models with timm. The search, which a found network does not need, is imported only
when one of its names is used.
"""

import os
from typing import Any

if "OMP_WAIT_POLICY" not in os.environ:  # before torch: endless spinning stalls beside any busy process
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from midas import nets
from midas.genotype import Genotype, load_genotype
from midas.nets.build import build_network

_LAZY = {"run_search": "midas.search.bilevel", "decode": "midas.search.decode"}


def __getattr__(name: str) -> Any:
    """`midas.run_search` and `midas.decode`, on first use."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'midas' has no attribute {name!r}")


__all__ = ["Genotype", "build_network", "decode", "load_genotype", "nets", "run_search"]
