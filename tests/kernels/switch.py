"""Kernels on or off, for tests that compare the two."""

from contextlib import AbstractContextManager, nullcontext

from midas.kernels.build import without_kernels


def kernels(on: bool) -> AbstractContextManager[None]:
    """Use kernels as this machine can build them, or none."""
    return nullcontext() if on else without_kernels()
