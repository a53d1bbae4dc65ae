"""What a search chooses within an image and over images, on a small untrained supernet."""

import pytest
import torch

from midas.analysis.paper_questions import one_of_each_class, patch_rows
from midas.data.prepared import DataMeta, Split
from midas.decode.decode import decode, distributions, sample_weights
from midas.decode.monitor import decode_batches, weight_rows
from midas.search.config import SearchConfig
from midas.search.methods import Method
from midas.search.run import build_search
from midas.search.supernet import Supernet
from midas.spaces import get_space

SPACE = get_space("darts").without(["none"])
Data = tuple[Split, Split, DataMeta]


def searched(method: str = "midas") -> tuple[Supernet, Method]:
    return build_search(
        SPACE, SearchConfig(channels=2, cells=3, method=method, patch_size=2), 10, seed=0
    )


@pytest.fixture(scope="module")
def some(digits: Data) -> tuple[Split, DataMeta]:
    return Split(digits[0].images[:32], digits[0].labels[:32]), digits[2]


def test_one_image_of_each_class_is_shown(some: tuple[Split, DataMeta]) -> None:
    shown = one_of_each_class(some[0], 6)
    assert len(set(shown.labels.tolist())) == len(shown) == 6


def test_each_patch_of_each_chosen_edge_names_its_strongest_operation(
    some: tuple[Split, DataMeta],
) -> None:
    sample, meta = some
    supernet, method = searched()
    samples = sample_weights(supernet, method, decode_batches(sample, meta, 32))
    genotype = decode(samples, SPACE)
    shown = one_of_each_class(sample, 3)
    rows = patch_rows(supernet, method, sample, shown, meta, genotype)
    # normal cells stand on 8x8 maps with 4x4 patches, the first reduction cell on 4x4 with 2x2
    assert len(rows) == 3 * 8 * (16 + 4)
    edges = {(r["cell"], r["edge"]) for r in rows}
    assert edges == {
        (f"{kind} 0", f"{e.source} to {e.target}")
        for kind, c in genotype.cells.items()
        for e in c.edges
    }
    assert all(1 / 7 <= row["weight"] + 1e-6 <= 1 + 2e-6 for row in rows), "the largest of seven"
    assert {(r["row"], r["column"]) for r in rows if r["cell"] == "normal 0"} == {
        (y, x) for y in range(4) for x in range(4)
    }


def test_patches_are_weighted_as_in_the_batch_they_pass_with(some: tuple[Split, DataMeta]) -> None:
    sample, meta = some
    supernet, method = searched()
    genotype = decode(sample_weights(supernet, method, decode_batches(sample, meta, 32)), SPACE)
    shown = one_of_each_class(sample, 2)
    first = next(
        r
        for r in patch_rows(supernet, method, sample, shown, meta, genotype)
        if r["cell"] == "normal 0"
    )
    images = torch.cat([shown.images, sample.images])
    cell_weights = supernet(
        next(decode_batches(Split(images, images[:, 0, 0, 0].long()), meta, 64)), method.eval()
    )[1]
    edge = genotype.cells["normal"].edges[0]
    assert first["weight"] == pytest.approx(
        float(cell_weights[0][0].op_weights[0, 0, 0, edge.source].detach().max()), abs=1e-5
    )


def test_static_weights_have_no_patches(some: tuple[Split, DataMeta]) -> None:
    sample, meta = some
    supernet, method = searched("darts")
    samples = sample_weights(supernet, method, decode_batches(sample, meta, 32))
    genotype = decode(samples, SPACE)
    assert patch_rows(supernet, method, sample, sample, meta, genotype) == []


def test_an_epochs_rows_hold_every_operation_weight_and_every_pair(
    some: tuple[Split, DataMeta],
) -> None:
    sample, meta = some
    supernet, method = searched()
    rows = weight_rows(
        distributions(sample_weights(supernet, method, decode_batches(sample, meta, 32))), SPACE
    )
    operations = [row for row in rows if row["choice"] != "pair"]
    assert len(operations) == 2 * 14 * 7
    assert len(rows) - len(operations) == 2 * (3 + 6 + 10)
    for kind in ("normal", "reduce"):
        edge = [
            row["weight"]
            for row in operations
            if (row["cell"], row["node"], row["inputs"]) == (kind, 5, "3")
        ]
        pairs = [
            row["weight"]
            for row in rows
            if (row["cell"], row["node"], row["choice"]) == (kind, 5, "pair")
        ]
        assert sum(edge) == pytest.approx(1, abs=1e-5)
        assert sum(pairs) == pytest.approx(1, abs=1e-5)
