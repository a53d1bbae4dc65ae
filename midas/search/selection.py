"""The choice between seeds, with its evidence.

Each seed is decoded by itself. The genotype kept is the one whose sub-network (supernet weights, batch norm on batch
statistics) does best on the architecture half, or, where there are short trainings, the one of which they lead one to
expect the lowest loss, in the finals where there are any, with what a small network pays; ties go to the lowest seed. All are
written down.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch

from midas.data.prepared import DataMeta, Split
from midas.genotype import CellGenotype, Edge, Genotype
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.search.arms import Arm, DiscreteArm, RandomArm, random_genotype
from midas.search.config import DecodeConfig, SearchConfig
from midas.search.decode import Distributions, Samples, decode, deviations, distributions, one_voice, sample_weights
from midas.search.halves import Halves
from midas.search.monitor import accuracy, decode_batches, indicators, one_line
from midas.search.refine import ShortTraining, operation_shares, refined
from midas.search.rules import Rule
from midas.search.supernet import Supernet
from midas.spaces.space import Space

# of the kept seed, in metrics.json
EVIDENCE = (
    "subnetwork_accuracy", "supernet_accuracy", "discretisation_gap", "skips", "pools", "zeros", "margin", "entropy"
)  # fmt: skip


class Decoded(NamedTuple):
    """One seed's cell and what speaks for it; accuracies are of the architecture half, in [0, 1]."""

    seed: int
    genotype: Genotype
    samples: Samples
    subnetwork_accuracy: float
    supernet_accuracy: float
    trainings: Sequence[ShortTraining] = ()  # the short trainings, where there were any

    @property
    def judged(self) -> float:
        """By what seeds are compared: the accuracy of the sub-network, or, after short trainings, the loss that counts, negated."""
        return -self.trainings[-1].counts if self.trainings else self.subnetwork_accuracy


def decode_sample(half: Split, how: DecodeConfig) -> Split:
    """The images of the architecture half that are decoded."""
    order = torch.randperm(len(half), generator=seeding.generator(how.seed, "decode"))[: how.samples]
    return Split(half.images[order], half.labels[order])


def decode_seed(
    seed: int,
    space: Space,
    supernet: Supernet,
    arm: Arm,
    config: SearchConfig,
    how: DecodeConfig,
    train: Split,
    meta: DataMeta,
    checkpoint: Checkpoint | None = None,
) -> Decoded:
    """Decode one trained search on `how.samples` images of the architecture half and judge the result on all of it.

    Where `how.refine` asks for it, short trainings go on from the decoded cell; `checkpoint` keeps their results.
    """
    half = Halves(train, config).architecture
    sample = decode_sample(half, how)
    seeding.seed_torch(how.seed, "decode")  # `noise` draws from here
    space = space.without(config.exclude)
    samples = sample_weights(supernet, arm, decode_batches(sample, meta, how.batch_size))
    genotype = decode(samples, space, how.rule)
    if isinstance(arm, RandomArm):
        genotype = _best_random(space, supernet, config.random_cells, sample, meta, how)
    trainings: Sequence[ShortTraining] = ()
    if how.refine is not None:
        device = next(supernet.parameters()).device
        shares = sample_shares(samples, space, how.rule, len(sample))
        trainings = refined(genotype, shares, space, config, how.refine, train, meta, seed, checkpoint, device)
        genotype = trainings[-1].genotype
    seeding.seed_torch(how.seed, "decode", "accuracy")  # `noise` again: not after what short trainings left
    accuracies = (
        accuracy(supernet, DiscreteArm(genotype.cells), half, meta, how.batch_size),
        accuracy(supernet, arm, half, meta, how.batch_size),
    )
    return Decoded(seed, genotype, samples, *accuracies, trainings)


def sample_shares(samples: Samples, space: Space, rule: Rule, images: int) -> dict[tuple[str, int, int, str], float]:
    """`operation_shares` by the decode rule; of weights that are the same for all samples the mean, as one voice is no vote."""
    return operation_shares(distributions(samples, "mean" if one_voice(samples) else rule), space, images)


def _best_random(
    space: Space, supernet: Supernet, count: int, sample: Split, meta: DataMeta, how: DecodeConfig
) -> Genotype:
    """The best of some random cells by the accuracy of its sub-network on the sample."""
    draws = seeding.generator(how.seed, "random cells")
    cells = [random_genotype(space, draws) for _ in range(count)]
    return max(cells, key=lambda g: accuracy(supernet, DiscreteArm(g.cells), sample, meta, how.batch_size))


def select(decoded: Sequence[Decoded], space: Space, how: DecodeConfig) -> tuple[Decoded, dict[str, Any]]:
    """The seed to keep, and the JSON that says why (`decode.json`).

    Args:
        decoded: one entry for each seed.
        space: the space without what the search left out.
        how: stands in the JSON, so that the numbers can be made again.
    """
    chosen = max(sorted(decoded, key=lambda d: d.seed), key=lambda d: d.judged)
    return chosen, {
        "order": "patches, then samples within a cell (by the rule), then the mean over cells of a type",
        "batch_norm": "batch statistics",
        **how.model_dump(),
        "kept_seed": chosen.seed,
        "agreement": round(agreement([d.genotype for d in decoded]), 6),
        "seeds": [_evidence(d, space, kept=d is chosen) for d in decoded],
    }


def decoded_cells(evidence: dict[str, Any], space: Space) -> dict[int, Genotype]:
    """Each seed's cell as `decode.json` has it: after short trainings, where there were any."""
    return {
        entry["seed"]: Genotype(
            space.name,
            {
                kind: CellGenotype(tuple(Edge(*edge) for edge in edges), space.concat)
                for kind, edges in entry["genotype"].items()
            },
        )
        for entry in evidence["seeds"]
    }


def summary(chosen: Decoded, evidence: dict[str, Any], steps: int) -> dict[str, Any]:
    """The few numbers by which searches are compared (`metrics.json`, what `dvc metrics` shows); `steps` of the kept seed."""
    kept = next(entry for entry in evidence["seeds"] if entry["kept"])
    return {
        "seeds": len(evidence["seeds"]),
        "kept_seed": chosen.seed,
        "agreement": evidence["agreement"],
        "steps": steps,
        **{name: kept[name] for name in EVIDENCE},
    }


def operation_counts(genotype: Genotype) -> list[dict[str, Any]]:
    """How often each operation stands in each type of cell: the rows of `operations.csv`, for a plot."""
    counts = Counter((kind, edge.op) for kind, cell in genotype.cells.items() for edge in cell.edges)
    return [{"cell": kind, "operation": f"{op} ({kind})", "count": n} for (kind, op), n in sorted(counts.items())]


def seed_rows(evidence: dict[str, Any], config: SearchConfig) -> list[dict[str, Any]]:
    """A row for each seed, for plots: the rows of `seeds.csv`.

    `patches` names the patch size, so that `dvc plots diff` of experiments that differ in it shows what patches are worth.
    """
    patches = "whole map" if config.patch_size is None else f"{config.patch_size} pixels"
    if config.arm != "midas":
        patches = "no patches"
    names = ("subnetwork_accuracy", "supernet_accuracy", "discretisation_gap", "skips", "margin")
    return [
        {
            "seed": f"seed {entry['seed']}",
            "arm": config.arm,
            "patches": patches,
            **{name: entry[name] for name in names},
        }
        for entry in evidence["seeds"]
    ]


def agreement(genotypes: Sequence[Genotype]) -> float:
    """How far genotypes agree: the mean over pairs of the share of edges (with operation) that both have, in [0, 1].

    A single genotype agrees with itself: 1.
    """
    shares = []
    for one, other in combinations(genotypes, 2):
        edges, others = ({(kind, *e) for kind, cell in g.cells.items() for e in cell.edges} for g in (one, other))
        shares.append(len(edges & others) / max(1, len(edges), len(others)))
    return sum(shares) / len(shares) if shares else 1.0


def _evidence(decoded: Decoded, space: Space, kept: bool) -> dict[str, Any]:
    """One seed's entry in `decode.json`."""
    found = distributions(decoded.samples)
    by = "sub-network on the architecture half"
    if decoded.trainings:
        by = "loss in the finals" if decoded.trainings[-1].final else "expectation from short trainings"
    return {
        "seed": decoded.seed,
        "kept": kept,
        "reason": f"best {by}" if kept else f"another seed's {by} is at least as good",
        "subnetwork_accuracy": round(decoded.subnetwork_accuracy, 6),
        "supernet_accuracy": round(decoded.supernet_accuracy, 6),
        "discretisation_gap": round(decoded.supernet_accuracy - decoded.subnetwork_accuracy, 6),
        **indicators(found, decoded.genotype),
        "genotype": {kind: [list(edge) for edge in cell.edges] for kind, cell in decoded.genotype.cells.items()},
        "distributions": _values(found, space),
        "deviations": _values(deviations(decoded.samples), space),
        "short_trainings": [
            {
                "round": training.round,
                "cell": one_line(training.genotype),
                "loss": round(training.loss, 6),
                "expected": round(training.expected, 6),
                "counts": round(training.counts, 6),
                "accuracy": round(training.accuracy, 6),
                "final": training.final,
                "kept": training.kept,
            }
            for training in decoded.trainings
        ],
    }


def _values(found: Distributions, space: Space) -> dict[str, Any]:
    """Distributions as JSON values."""
    return {
        kind: [node.to_value(specs) for specs, node in zip(space.nodes(kind), nodes, strict=True)]
        for kind, nodes in found.items()
    }
