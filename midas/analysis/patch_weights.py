"""What a trained search chooses patch by patch, and how its weights spread over images."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from midas.data.augment import normalise
from midas.data.prepared import DataMeta, Split
from midas.decode.decode import Samples
from midas.genotype import Genotype
from midas.search.methods import ArchWeights, Method, NodeSpec
from midas.search.supernet import Supernet
from midas.spaces.space import EdgeSpec, Space

BINS = 16  # of a histogram


def one_of_each_class(sample: Split, count: int) -> Split:
    """The first image of each of the first `count` classes that have one."""
    classes = sample.labels.unique().tolist()[:count]
    places = [int((sample.labels == label).nonzero()[0]) for label in classes]
    return Split(sample.images[places], sample.labels[places])


@torch.no_grad()
def patch_rows(
    supernet: Supernet,
    method: Method,
    sample: Split,
    shown: Split,
    meta: DataMeta,
    genotype: Genotype,
) -> list[dict[str, Any]]:
    """The operation that each patch of each shown image prefers, on the kept edges.

    Only the first cell of each type is read.

    Args:
        supernet: trained. Its batch norms use the batch's statistics, so `shown` passes together
            with `sample`.
        method: trained.
        sample: the rest of the batch.
        shown: the images whose patches are read.
        meta: for the normalisation.
        genotype: the cell whose edges are read.

    Returns:
        Rows of image (its place in `shown`), cell, edge, row and column of the patch, the operation
        with the largest weight there, and that weight. There are none for a method whose weights
        are the same for all images.
    """
    images = normalise(torch.cat([shown.images, sample.images]), meta.mean, meta.std)
    was_training = method.training
    method.eval()
    _, weights = supernet(images, method)
    method.train(was_training)
    first: dict[str, Iterable[tuple[NodeSpec, ArchWeights]]] = {}
    for cell, nodes in zip(supernet.search_cells, weights, strict=True):
        first.setdefault(cell.node_specs[0].kind, zip(cell.node_specs, nodes, strict=True))
    rows: list[dict[str, Any]] = []
    for kind, nodes_of_cell in first.items():
        kept = {(edge.source, edge.target) for edge in genotype.cells[kind].edges}
        for node_spec, node in nodes_of_cell:
            if len(node.op_weights) < len(images):
                continue  # the same for all images
            for i, spec in enumerate(node_spec.edges):
                if (spec.source, spec.target) in kept:
                    rows += _edge_rows(kind, spec, node.op_weights[: len(shown), :, :, i])
    return rows


def _edge_rows(kind: str, spec: EdgeSpec, weights: Tensor) -> Iterator[dict[str, Any]]:
    """The largest weight of each patch and its operation, from one edge's [N, Ph, Pw, m]."""
    values, ops = weights.max(dim=-1)  # [N, Ph, Pw]
    for image, row, column in torch.cartesian_prod(*map(torch.arange, values.shape)).tolist():
        yield {
            "image": image,
            **_place(kind, 0, spec),
            "row": row,
            "column": column,
            "operation": spec.candidates[int(ops[image, row, column])],
            "weight": round(float(values[image, row, column]), 6),
        }


def spread_rows(samples: Samples, space: Space, genotype: Genotype) -> list[dict[str, Any]]:
    """How the weight of each chosen operation is distributed over samples.

    Args:
        samples: the weights of one search.
        space: what was searched, without `search.exclude`.
        genotype: the cell whose operations are read.

    Returns:
        A histogram of `BINS` rows for each edge: cell, edge, operation, the two ends of the bin and
        the number of samples in it. There are none for a static method.
    """
    rows = []
    for kind, cells in samples.items():
        chosen = {(edge.source, edge.target): edge.op for edge in genotype.cells[kind].edges}
        for number, nodes in enumerate(cells):
            for specs, node in zip(space.nodes(kind), nodes, strict=True):
                for i, spec in enumerate(specs):
                    op = chosen.get((spec.source, spec.target))
                    if op is None or len(node.op_weights) < 2:
                        continue
                    weights = node.op_weights[:, i, spec.candidates.index(op)]
                    place = {**_place(kind, number, spec), "operation": op}
                    rows += [place | row for row in _histogram(weights.double())]
    return rows


def _place(kind: str, number: int, spec: EdgeSpec) -> dict[str, Any]:
    """The columns that name an edge of a cell."""
    return {"cell": f"{kind} {number}", "edge": f"{spec.source} to {spec.target}"}


def _histogram(values: Tensor) -> Iterator[dict[str, Any]]:
    """The ends of each bin and the number of values [N] in it."""
    low = float(values.min())
    high = float(values.max())
    width = (high - low) / BINS
    counts = torch.histc(values, BINS, low, high if high > low else low + 1e-6)
    for k, count in enumerate(counts.int().tolist()):
        start = low + k * width
        yield {"from": round(start, 6), "to": round(start + width, 6), "samples": count}
