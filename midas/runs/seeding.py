"""Randomness without state: every draw follows from (seed, purpose, step), so a resumed run needs no saved generator."""

import hashlib
import os

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that follows from `seed` and what it is for; other purposes give unrelated seeds."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator of its own for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def seed_torch(seed: int, *purpose: str | int) -> None:
    """Seed torch's global generators, which initialisation, dropout and drop path draw from."""
    torch.manual_seed(derive(seed, *purpose))


def deterministic() -> None:
    """Ask torch for the same bytes on every run of the same inputs with the same number of threads.

    New memory is not filled first, as torch would then do: nothing here reads what it has not written, and the filling took up
    to a twelfth of a short training's time.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for; read before its first use
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property its stub lacks
