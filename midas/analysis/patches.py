"""What a trained search decides within an image, patch by patch, and how its weights spread over images."""

from typing import Any

import torch
from torch import Tensor

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.genotype import Genotype
from midas.search.arms import Arm
from midas.search.decode import Samples
from midas.search.supernet import SearchCell, Supernet
from midas.spaces.space import Space

BINS = 16


def one_of_each_class(sample: Split, count: int) -> Split:
    """The first image of each of the first `count` classes that have one."""
    places = [int((sample.labels == label).nonzero()[0]) for label in sorted(set(sample.labels.tolist()))[:count]]
    return Split(sample.images[places], sample.labels[places])


@torch.no_grad()
def patch_rows(
    supernet: Supernet, arm: Arm, sample: Split, shown: Split, meta: DataMeta, genotype: Genotype
) -> list[dict[str, Any]]:
    """For each patch of each shown image, the operation that the chosen edges of the first cell of each type ask for.

    Args:
        supernet: trained; its batch norms use batch statistics, so the images pass together with `sample`.
        arm: the trained arm.
        sample: images that make up the batch.
        shown: the images that are asked about.
        meta: for the normalisation.
        genotype: whose edges are shown.

    Returns:
        Rows of image (its place in `shown`), cell, edge, row and column of the patch, operation (the one with the largest
        weight there) and weight. None for an arm whose weights are the same for every patch.
    """
    images = normalise(torch.cat([shown.images, sample.images]), meta.mean, meta.std)
    was_training, _ = arm.training, arm.eval()
    choices = supernet(images, arm)[1]
    arm.train(was_training)
    rows, seen = [], set[str]()
    for cell, nodes in zip([c for c in supernet.cells if isinstance(c, SearchCell)], choices, strict=True):
        kind = cell.sites[0].kind
        if kind in seen:
            continue
        seen.add(kind)
        kept = {(edge.source, edge.target) for edge in genotype.cells[kind].edges}
        for site, choice in zip(cell.sites, nodes, strict=True):
            if len(choice.a) < len(images):
                continue  # the same for all
            for i, spec in enumerate(site.edges):
                if (spec.source, spec.target) not in kept:
                    continue
                best, index = choice.a[: len(shown), :, :, i].max(dim=-1)  # [N, Ph, Pw]
                for (n, y, x), weight in _cells(best):
                    operation = spec.candidates[int(index[n, y, x])]
                    place = {"image": n, "cell": f"{kind} 0", "edge": f"{spec.source} to {spec.target}"}
                    rows.append({**place, "row": y, "column": x, "operation": operation, "weight": round(weight, 6)})
    return rows


def _cells(grid: Tensor) -> list[tuple[tuple[int, int, int], float]]:
    """Every place of a [N, H, W] tensor with its value."""
    values = grid.tolist()
    return [((n, y, x), w) for n, image in enumerate(values) for y, row in enumerate(image) for x, w in enumerate(row)]


def spread_rows(samples: Samples, space: Space, genotype: Genotype) -> list[dict[str, Any]]:
    """How the weight of each chosen operation is distributed over samples: a histogram of `BINS` bins for each edge.

    Args:
        samples: of one search.
        space: the space without what the search left out.
        genotype: whose operations are looked at.

    Returns:
        Rows of cell, edge, operation, the bin's two ends and the number of samples in it. None for a static arm.
    """
    rows = []
    for kind, several in samples.items():
        chosen = {(edge.source, edge.target): edge.op for edge in genotype.cells[kind].edges}
        for number, nodes in enumerate(several):
            for specs, node in zip(space.nodes(kind), nodes, strict=True):
                for i, spec in enumerate(specs):
                    operation = chosen.get((spec.source, spec.target))
                    if operation is None or len(node.a) < 2:
                        continue
                    weights = node.a[:, i, spec.candidates.index(operation)].double()
                    low, high = float(weights.min()), float(weights.max())
                    counts = torch.histc(weights, BINS, low, high if high > low else low + 1e-6).int().tolist()
                    width = (high - low) / BINS
                    place = {"cell": f"{kind} {number}", "edge": f"{spec.source} to {spec.target}"}
                    rows += [
                        {**place, "operation": operation, **_bin(low + k * width, width), "samples": count}
                        for k, count in enumerate(counts)
                    ]
    return rows


def _bin(low: float, width: float) -> dict[str, float]:
    return {"from": round(low, 6), "to": round(low + width, 6)}
