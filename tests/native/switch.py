"""Kernels on or off, for tests that compare the two."""

from contextlib import AbstractContextManager, nullcontext

from midas.native.library import torch_alone


def kernels(on: bool) -> AbstractContextManager[None]:
    """With the kernels of `midas.native`, where this machine can build them, or as on one that cannot."""
    return nullcontext() if on else torch_alone()
