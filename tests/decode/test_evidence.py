"""Each seed's evidence is written down, and the seed with the best score is kept."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from midas.data.prepared import DataMeta, Split
from midas.decode.config import DecodeConfig
from midas.decode.decode import sample_weights
from midas.decode.evidence import (
    agreement,
    decode_sample,
    entry_genotype,
    evidence,
    operation_counts,
    seed_rows,
    select,
)
from midas.decode.monitor import decode_batches
from midas.genotype import CellGenotype, Edge, Genotype
from midas.search.bilevel import BilevelSplit
from midas.search.config import SearchConfig
from midas.search.run import build_search, run_search
from midas.spaces import get_space
from tests.decode.decoding import decode_search

Data = tuple[Split, Split, DataMeta]
SEARCH = SearchConfig(channels=2, cells=3, epochs=1, images=128, batch_size=16)
DECODE = DecodeConfig(samples=64, batch_size=32)


def test_the_seed_kept_has_the_best_subnetwork_and_all_seeds_are_written_down(digits: Data) -> None:
    train, _, meta = digits
    space = get_space("rdarts-s4")
    entries = []
    for seed in (0, 1):
        result = run_search(space, SEARCH, train, meta, seed)
        genotype, entry = decode_search(space, result, SEARCH, DECODE, train, meta, seed)
        assert entry_genotype(entry, space) == genotype
        entries.append(entry)
    selected = select(entries, DECODE.model_dump())
    best = max(entries, key=lambda entry: entry["subnetwork_accuracy"])
    assert selected["kept_seed"] == best["seed"]
    assert [entry["seed"] for entry in selected["seeds"]] == [0, 1]
    assert selected["decode"]["samples"] == 64
    first = selected["seeds"][0]["distributions"]["normal"][1]
    assert sum(first["edges"][0]["operations"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(pair["probability"] for pair in first["pairs"]) == pytest.approx(1, abs=1e-5)
    rows = seed_rows(selected, SEARCH)
    assert [(row["seed"], row["method"], row["patches"]) for row in rows] == [
        ("seed 0", "midas", "4 pixels"),
        ("seed 1", "midas", "4 pixels"),
    ]


def entry(seed: int, score: float, ops: list[str]) -> dict[str, Any]:
    """What `select` reads of one seed's evidence."""
    edges = [[op, source, 2] for source, op in enumerate(ops)]
    of = "sub-network accuracy on the architecture half"
    return {"seed": seed, "score": score, "score_of": of, "genotype": {"normal": edges}}


def test_the_best_score_is_kept_and_of_equal_ones_the_lowest_seed() -> None:
    entries = [
        entry(7, 0.5, ["skip_connect", "none"]),
        entry(2, 0.5, ["skip_connect", "sep_conv_3x3"]),
        entry(0, 0.25, ["skip_connect", "sep_conv_3x3"]),
    ]
    selected = select(entries, {})
    assert selected["kept_seed"] == 2
    assert [seed["seed"] for seed in selected["seeds"]] == [0, 2, 7]
    assert [seed["kept"] for seed in selected["seeds"]] == [False, True, False]
    of = "sub-network accuracy on the architecture half"
    assert selected["seeds"][1]["reason"] == f"best {of}"
    assert selected["seeds"][0]["reason"] == f"another seed's {of} is at least as good"
    assert selected["agreement"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3, abs=1e-6)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_no_seed_has_a_better_score_than_the_kept_one(scores: list[int]) -> None:
    entries = [entry(seed, score, ["none"]) for seed, score in enumerate(scores)]
    selected = select(list(reversed(entries)), {})
    assert selected["kept_seed"] == scores.index(max(scores))


def test_agreement_is_the_share_of_equal_edges() -> None:
    edges = [["skip_connect", 0, 2], ["none", 1, 2], ["none", 0, 3], ["none", 1, 3]]
    cell = {"normal": edges}
    other = {"normal": [*edges[:3], ["skip_connect", 1, 3]]}
    assert agreement([cell, cell]) == 1
    assert agreement([cell, other]) == pytest.approx(3 / 4)
    assert agreement([cell]) == 1


def test_operations_are_counted_by_type_of_cell() -> None:
    normal = CellGenotype((Edge("none", 0, 2), Edge("skip_connect", 1, 2)), (2,))
    reduce = CellGenotype((Edge("none", 0, 2), Edge("none", 1, 2)), (2,))
    rows = operation_counts(Genotype("toy", {"normal": normal, "reduce": reduce}))
    assert [(row["cell"], row["operation"], row["count"]) for row in rows] == [
        ("normal", "none (normal)", 1),
        ("normal", "skip_connect (normal)", 1),
        ("reduce", "none (reduce)", 2),
    ]


def test_the_sample_follows_from_the_decode_seed_alone(digits: Data) -> None:
    half = BilevelSplit(digits[0], SEARCH).architecture
    first, again, other = (
        decode_sample(half, DecodeConfig(samples=20, seed=seed)) for seed in (0, 0, 1)
    )
    assert len(first) == 20
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert len(decode_sample(half, DecodeConfig(samples=1000))) == len(half)


def test_the_accuracies_of_noise_do_not_depend_on_earlier_draws(digits: Data) -> None:
    """Proxy trainings draw before a cell is evaluated; a resumed decode skips them."""
    train, _, meta = digits
    space = get_space("rdarts-s4")
    search = SearchConfig(method="darts", channels=2, cells=3, images=80, batch_size=20)
    supernet, method = build_search(space, search, len(meta.classes), seed=0)
    edges = tuple(Edge("noise", source, node) for node in range(2, 6) for source in (0, 1))
    cell = CellGenotype(edges, space.concat)
    noisy = Genotype("rdarts-s4", {"normal": cell, "reduce": cell})
    half = BilevelSplit(train, search).architecture
    config = DecodeConfig(samples=20, batch_size=20)
    batches = decode_batches(decode_sample(half, config), meta, 20)
    samples = sample_weights(supernet, method, batches)
    entries = []
    for draws in (0, 7):
        torch.rand(draws)
        entries.append(evidence(0, noisy, samples, space, supernet, method, config, half, meta))
    assert entries[0] == entries[1]
