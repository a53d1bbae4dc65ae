"""Kernels on or off, for tests that compare the two."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def kernels(on: bool) -> Iterator[None]:
    """With the kernels of `midas.native`, where this machine can build them, or as on one that cannot."""
    with pytest.MonkeyPatch.context() as patch:
        if not on:
            patch.setattr("midas.native.library.library", lambda *_: None)
        yield
