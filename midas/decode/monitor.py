"""What is seen of a search while it goes on: its cell, how sure that is, what the cell is worth."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from midas.data.augment import normalise
from midas.data.batches import sequential_batches
from midas.data.prepared import DataMeta, Split
from midas.decode.decode import Distributions, decode, distributions, sample_weights
from midas.engine.distributed import send
from midas.genotype import Genotype, to_line
from midas.search.config import SearchConfig
from midas.search.methods import FixedCell, Method
from midas.search.supernet import Supernet
from midas.spaces.space import Space


def search_monitor(
    space: Space, meta: DataMeta, config: SearchConfig
) -> Callable[[Supernet, Method, Split], dict[str, Any]]:
    """The columns that `run_search` adds to each epoch's row: indicators, accuracies, the cell.

    They are of the first images of the architecture half, which is shuffled. `space` is without
    `config.exclude`.
    """
    count = config.monitor_images
    batch_size = config.batch_size

    def monitor(supernet: Supernet, method: Method, half: Split) -> dict[str, Any]:
        sample = Split(half.images[:count], half.labels[:count])
        samples = sample_weights(supernet, method, decode_batches(sample, meta, batch_size))
        genotype = decode(samples, space)
        cell = FixedCell(genotype.cells)
        aggregated = distributions(samples)
        return {
            **indicators(aggregated, genotype),
            "supernet_accuracy": round(accuracy(supernet, method, sample, meta, batch_size), 6),
            "subnetwork_accuracy": round(accuracy(supernet, cell, sample, meta, batch_size), 6),
            "genotype": to_line(genotype),
            "voted": to_line(decode(samples, space, "vote")),
            "weights": weight_rows(aggregated, space),
        }

    return monitor


def weight_rows(aggregated: Distributions, space: Space) -> list[dict[str, Any]]:
    """One row for each operation weight and each pair probability.

    `inputs` is the edge's source, or a pair's two as ``0+2``; `choice` the operation, or ``pair``.
    """
    rows = []
    for kind, nodes in aggregated.items():
        for specs, node in zip(space.nodes(kind), nodes, strict=True):
            value = node.to_value(specs)
            place = {"cell": kind, "node": value["target"]}
            rows += [
                {**place, "inputs": str(edge["source"]), "choice": op, "weight": weight}
                for edge in value["edges"]
                for op, weight in edge["operations"].items()
            ]
            if len(value["pairs"]) > 1:  # one pair is no choice
                for pair in value["pairs"]:
                    inputs = "+".join(map(str, pair["sources"]))
                    row = {"inputs": inputs, "choice": "pair", "weight": pair["probability"]}
                    rows.append(place | row)
    return rows


def decode_batches(sample: Split, meta: DataMeta, batch_size: int) -> Iterator[Tensor]:
    """Normalised batches [B, 3, H, W] in order, without augmentation."""
    indices = _batches(len(sample), batch_size)
    return (normalise(sample.images[index], meta.mean, meta.std) for index in indices)


def decode_labels(sample: Split, batch_size: int) -> Iterator[Tensor]:
    """The labels [B] of `decode_batches`."""
    return (sample.labels[index] for index in _batches(len(sample), batch_size))


def _batches(n: int, batch_size: int) -> list[Tensor]:
    batches = sequential_batches(n, batch_size)
    # batch norm uses the batch's statistics, and one image whose last map is one pixel has none
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def indicators(aggregated: Distributions, genotype: Genotype) -> dict[str, Any]:
    """Signs of a collapse: the skips, pools and zeros of the cell, the mean margin and entropy."""
    operations = [edge.op for cell in genotype.cells.values() for edge in cell.edges]
    rows = [row for nodes in aggregated.values() for node in nodes for row in node.op_weights]
    edges = [row[row > 0] for row in rows]  # of each the weights of its candidates
    tops = [edge.topk(min(2, len(edge))).values for edge in edges]
    margins = [float(top[0] - top[-1]) for top in tops]
    entropies = [float(-(edge * edge.log()).sum()) for edge in edges]
    return {
        "skips": operations.count("skip_connect"),
        "pools": sum("pool" in op for op in operations),
        "zeros": sum(op in ("none", "noise") for op in operations),
        "margin": round(sum(margins) / len(edges), 6),
        "entropy": round(sum(entropies) / len(edges), 6),
    }


@torch.no_grad()
def accuracy(
    supernet: Supernet, method: Method, half: Split, meta: DataMeta, batch_size: int
) -> float:
    """The supernet's accuracy under a method, in [0, 1]; a sub-network's under a `FixedCell`.

    Batch norm uses each batch's statistics, and the method draws nothing.
    """
    was_training = method.training
    method.eval()
    device = next(supernet.parameters()).device
    hits = 0
    for index in _batches(len(half), batch_size):
        images = normalise(send(half.images[index], device), meta.mean, meta.std)
        logits, _ = supernet(images, method)
        hits += int((logits.argmax(1) == send(half.labels[index], device)).sum())
    method.train(was_training)
    return hits / len(half)
