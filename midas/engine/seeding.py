"""Randomness without state: draws follow from seed, purpose and step."""

import hashlib
import os
from collections.abc import Sequence

import torch
from torch import Tensor


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed that follows from `seed` and its purpose."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def seed_torch(seed: int, *purpose: str | int) -> None:
    """Seed torch's global generators, from which initialisation, dropout and drop path draw."""
    torch.manual_seed(derive(seed, *purpose))


def random_states(device: torch.device) -> list[Tensor]:
    """The states of torch's global generators: the CPU's and, where it is a GPU, the device's."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def restore_random_states(states: Sequence[Tensor], device: torch.device) -> None:
    """Let torch's global generators go on from what `random_states` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def deterministic() -> None:
    """Ask torch for the same bytes on every run of the same inputs with the same threads."""
    # cuBLAS asks for this variable and reads it before its first use
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # nothing reads what it has not written; a property that torch's stub lacks
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
