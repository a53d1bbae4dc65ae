"""One seed's decoded cell with the evidence for it, and the choice between seeds.

The seed with the highest score is kept: the accuracy of its sub-network on the architecture half,
or, where proxy trainings ran, the negated objective of its cell. Ties go to the lowest seed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from midas.data.prepared import DataMeta, Split
from midas.decode.config import Aggregation, DecodeConfig
from midas.decode.decode import (
    Samples,
    decode,
    distributions,
    sample_weights,
)
from midas.decode.monitor import accuracy, decode_batches, decode_labels, indicators
from midas.decode.sensitivity import sensitivities
from midas.engine import seeding
from midas.genotype import CellGenotype, Edge, Genotype
from midas.io import files
from midas.io.errors import MidasError
from midas.search.config import SearchConfig
from midas.search.methods import FixedCell, Method, RandomMethod, random_genotype
from midas.search.supernet import Supernet
from midas.spaces.space import Space

METRICS = ("subnetwork_accuracy", "skips", "margin")  # of the kept seed, in metrics.json
SEED_COLUMNS = (*METRICS, "supernet_accuracy", "discretisation_gap")


def decode_sample(half: Split, config: DecodeConfig) -> Split:
    """The images of the architecture half that are read."""
    generator = seeding.generator(config.seed, "decode")
    order = torch.randperm(len(half), generator=generator)[: config.samples]
    return Split(half.images[order], half.labels[order])


def read_supernet(
    space: Space,
    supernet: Supernet,
    method: Method,
    search: SearchConfig,
    config: DecodeConfig,
    half: Split,
    meta: DataMeta,
) -> tuple[Samples, Genotype]:
    """The weights of the sample, and the cell that they decode to.

    `space` is without `search.exclude`; supernet and method are trained; `half` is the
    architecture half.
    """
    sample = decode_sample(half, config)
    seeding.seed_torch(config.seed, "decode")  # `noise` draws from here
    batches = decode_batches(sample, meta, config.batch_size)
    if config.aggregation == "sensitivity":
        labels = decode_labels(sample, config.batch_size)
        samples = sensitivities(supernet, method, zip(batches, labels, strict=True))
    else:
        samples = sample_weights(supernet, method, batches)
    if not isinstance(method, RandomMethod):
        return samples, decode(samples, space, config.aggregation)
    draws = seeding.generator(config.seed, "random cells")
    cells = [random_genotype(space, draws) for _ in range(search.random_cells)]

    def subnetwork_accuracy(cell: Genotype) -> float:
        return accuracy(supernet, FixedCell(cell.cells), sample, meta, config.batch_size)

    return samples, max(cells, key=subnetwork_accuracy)


def evidence(
    seed: int,
    genotype: Genotype,
    samples: Samples,
    space: Space,
    supernet: Supernet,
    method: Method,
    config: DecodeConfig,
    half: Split,
    meta: DataMeta,
) -> dict[str, Any]:
    """One seed's cell and what speaks for it, as JSON values; accuracies are in [0, 1].

    The cell may be the result of proxy trainings; `samples` are the weights that it was decoded
    from. The other arguments are as in `read_supernet`.
    """
    seeding.seed_torch(config.seed, "decode", "accuracy")  # `noise` draws from here
    batch_size = config.batch_size
    subnetwork = accuracy(supernet, FixedCell(genotype.cells), half, meta, batch_size)
    whole = accuracy(supernet, method, half, meta, batch_size)
    weighting: Aggregation = "sensitivity" if config.aggregation == "sensitivity" else "mean"
    aggregated = distributions(samples, weighting)
    return {
        "seed": seed,
        "score": round(subnetwork, 6),
        "score_of": "sub-network accuracy on the architecture half",
        "subnetwork_accuracy": round(subnetwork, 6),
        "supernet_accuracy": round(whole, 6),
        "discretisation_gap": round(whole - subnetwork, 6),
        **indicators(aggregated, genotype),
        "genotype": {
            kind: [list(edge) for edge in cell.edges] for kind, cell in genotype.cells.items()
        },
        "distributions": {
            kind: [
                node.to_value(specs) for specs, node in zip(space.nodes(kind), nodes, strict=True)
            ]
            for kind, nodes in aggregated.items()
        },
        "proxy_trainings": [],
    }


def load_evidence(path: Path) -> dict[str, Any]:
    """One seed's `evidence` as the decode stage wrote it; MidasError where there is none."""
    entry = files.read_json(path)
    if not isinstance(entry, dict) or "genotype" not in entry:
        raise MidasError(f"{path}: holds no decoded cell; run the decode stage of this seed again")
    return entry


def select(entries: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Any]:
    """Which seed to keep, and why, from each seed's `evidence`: the value of select.json.

    `config` is the section `decode`, so that the numbers can be made again.
    """
    ordered = sorted(entries, key=lambda entry: int(entry["seed"]))
    kept = max(ordered, key=lambda entry: float(entry["score"]))
    seeds = []
    for entry in ordered:
        score = entry["score_of"]
        beaten = f"another seed's {score} is at least as good"
        reason = f"best {score}" if entry is kept else beaten
        seeds.append({**entry, "kept": entry is kept, "reason": reason})
    return {
        "order": "patches, then samples within a cell (aggregation), then cells of a type (mean)",
        "batch_norm": "batch statistics",
        "decode": dict(config),
        "kept_seed": kept["seed"],
        "agreement": round(agreement([entry["genotype"] for entry in ordered]), 6),
        "seeds": seeds,
    }


def entry_genotype(entry: Mapping[str, Any], space: Space) -> Genotype:
    """The cell of one seed's `evidence`."""
    cells = {
        kind: CellGenotype(tuple(Edge(*edge) for edge in edges), space.concat)
        for kind, edges in entry["genotype"].items()
    }
    return Genotype(space.name, cells)


def operation_counts(genotype: Genotype) -> list[dict[str, Any]]:
    """How often each type of cell has each operation: the rows of operations.csv."""
    cells = genotype.cells.items()
    counts = Counter((kind, edge.op) for kind, cell in cells for edge in cell.edges)
    return [
        {"cell": kind, "operation": f"{op} ({kind})", "count": count}
        for (kind, op), count in sorted(counts.items())
    ]


def seed_rows(selected: Mapping[str, Any], search: SearchConfig) -> list[dict[str, Any]]:
    """The rows of seeds.csv. `dvc plots diff` compares experiments by `method` and `patches`."""
    patches = "no patches"
    if search.method == "midas":
        patches = f"{search.patch_size} pixels" if search.patch_size else "whole map"
    columns = {"method": search.method, "patches": patches}
    return [
        {"seed": f"seed {entry['seed']}", **columns, **{name: entry[name] for name in SEED_COLUMNS}}
        for entry in selected["seeds"]
    ]


def agreement(cells: Sequence[Mapping[str, Sequence[Sequence[Any]]]]) -> float:
    """The share of edges, with their operations, that two cells share, as a mean over all pairs.

    Cells are given as their edges by type of cell. The share is in [0, 1], and 1 for a single cell.
    """
    edge_sets = [
        {(kind, *edge) for kind, edges in cell.items() for edge in edges} for cell in cells
    ]
    shares = [
        len(first & second) / max(1, len(first), len(second))
        for first, second in combinations(edge_sets, 2)
    ]
    return sum(shares) / len(shares) if shares else 1.0
