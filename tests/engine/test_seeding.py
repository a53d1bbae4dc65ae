"""Every draw follows from a seed and its purpose, and generators go on from saved states."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from midas.engine import seeding

CPU = torch.device("cpu")


@given(st.integers(0, 2**40), st.text(max_size=8), st.integers(0, 100))
def test_a_derived_seed_follows_from_seed_and_purpose(seed: int, purpose: str, step: int) -> None:
    derived = seeding.derive(seed, purpose, step)
    assert 0 <= derived < 2**63
    assert derived == seeding.derive(seed, purpose, step)
    assert derived != seeding.derive(seed + 1, purpose, step)
    assert derived != seeding.derive(seed, purpose, step + 1)
    assert derived != seeding.derive(seed, f"{purpose}x", step)


def test_a_seed_is_the_same_in_every_version() -> None:
    assert seeding.derive(0, "search", "weights") == 1985985613874814911


def test_draws_go_on_from_restored_states() -> None:
    seeding.seed_torch(0, "test")
    torch.rand(7)
    states = seeding.random_states(CPU)
    expected = torch.rand(5)
    torch.rand(3)
    seeding.restore_random_states(states, CPU)
    assert torch.equal(torch.rand(5), expected)
