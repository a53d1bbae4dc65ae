"""What is seen of a search while it goes on: how it would be decoded now, how sure that is, and what the cell is worth."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from midas.data.augment import normalise
from midas.data.batches import sequential_batches
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.runs.transfer import send
from midas.search.arms import Arm, DiscreteArm
from midas.search.config import SearchConfig
from midas.search.decode import Distributions, decode, distributions, sample_weights
from midas.search.supernet import Supernet
from midas.spaces.space import Space


def monitor(
    space: Space, supernet: Supernet, arm: Arm, half: Split, meta: DataMeta, config: SearchConfig
) -> dict[str, Any]:
    """One epoch's row: the indicators, the discretisation gap and the cell, all on the first images of the architecture half."""
    count = min(config.monitor_images, len(half))
    sample = Split(half.images[:count], half.labels[:count])  # the half is shuffled already
    samples = sample_weights(supernet, arm, decode_batches(sample, meta, config.batch_size))
    genotype = decode(samples, space)
    found = distributions(samples)
    whole = accuracy(supernet, arm, sample, meta, config.batch_size)
    decoded = accuracy(supernet, DiscreteArm(genotype.cells), sample, meta, config.batch_size)
    return {
        **indicators(found, genotype),
        "supernet_accuracy": round(whole, 6),
        "subnetwork_accuracy": round(decoded, 6),
        "genotype": one_line(genotype),
        "voted": one_line(decode(samples, space, "vote")),
        "weights": choice_rows(found, space),
    }


def choice_rows(found: Distributions, space: Space) -> list[dict[str, Any]]:
    """Every operation weight and every pair probability, one row each.

    A row has the type of cell, the node, `inputs` (the edge's source, or the two sources of a pair as ``0+2``),
    `choice` (the operation, or the word ``pair``) and the weight.
    """
    rows = []
    for kind, nodes in found.items():
        for specs, node in zip(space.nodes(kind), nodes, strict=True):
            value = node.to_value(specs)
            choices = [(str(e["source"]), op, w) for e in value["edges"] for op, w in e["operations"].items()]
            if len(value["pairs"]) > 1:  # one pair is no choice
                choices += [("+".join(map(str, p["sources"])), "pair", p["probability"]) for p in value["pairs"]]
            place = {"cell": kind, "node": value["target"]}
            rows += [{**place, "inputs": inputs, "choice": choice, "weight": w} for inputs, choice, w in choices]
    return rows


def one_line(genotype: Genotype) -> str:
    """A text that `load_genotype` reads, without line breaks: an arch string or JSON."""
    return genotype.to_arch() if genotype.space == "nasbench201" else " ".join(genotype.to_json().split())


def decode_batches(sample: Split, meta: DataMeta, batch_size: int) -> Iterator[Tensor]:
    """Unaugmented, normalised batches [B, 3, H, W] in order."""
    for index in _batches(len(sample), batch_size):
        yield normalise(sample.images[index], meta.mean, meta.std)


def _batches(n: int, batch_size: int) -> list[Tensor]:
    """As `sequential_batches`, but a single last image joins the batch before it.

    A supernet's batch norm takes the batch's own statistics, and one image whose last map is one pixel has none.
    """
    batches = sequential_batches(n, batch_size)
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def indicators(found: Distributions, genotype: Genotype) -> dict[str, Any]:
    """What tells a collapse: how many skips, pools and zeros were chosen, how sure the choice is (mean margin, entropy)."""
    operations = [edge.op for cell in genotype.cells.values() for edge in cell.edges]
    rows = [row[row > 0] for nodes in found.values() for node in nodes for row in node.a]  # an edge's candidates
    tops = [row.topk(min(2, len(row))).values for row in rows]
    entropies = [float(-(row * row.log()).sum()) for row in rows]
    return {
        "skips": operations.count("skip_connect"),
        "pools": sum("pool" in op for op in operations),
        "zeros": sum(op in ("none", "noise") for op in operations),
        "margin": round(sum(float(top[0] - top[-1]) for top in tops) / len(tops), 6),
        "entropy": round(sum(entropies) / len(entropies), 6),
    }


@torch.no_grad()
def accuracy(supernet: Supernet, arm: Arm, half: Split, meta: DataMeta, batch_size: int) -> float:
    """Accuracy of the supernet under an arm in [0, 1], batch norm on each batch's statistics, nothing drawn.

    With a `DiscreteArm` it is that of a sub-network with the supernet's weights.
    """
    was_training, _, device = arm.training, arm.eval(), next(supernet.parameters()).device
    hits = 0
    for index in _batches(len(half), batch_size):
        images, labels = (send(x[index], device) for x in (half.images, half.labels))
        logits, _ = supernet(normalise(images, meta.mean, meta.std), arm)
        hits += int((logits.argmax(1) == labels).sum())
    arm.train(was_training)
    return hits / len(half)
