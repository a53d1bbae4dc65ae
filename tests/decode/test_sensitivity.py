"""The sensitivity of an operation is the squared change of the loss without it, to first order."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from midas.data.prepared import DataMeta, Split
from midas.decode.config import DecodeConfig
from midas.decode.decode import share
from midas.decode.sensitivity import sensitivities
from midas.search.config import SearchConfig
from midas.search.methods import ArchWeights, Method, NodeSpec
from midas.search.run import SearchResult, build_search
from midas.spaces import get_space
from tests.decode.decoding import decode_search

Data = tuple[Split, Split, DataMeta]
SPACE = get_space("nasbench201").without(["none"])
IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1])


class Observed(Method):
    """Keeps the outputs and weights of every node of another method."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.nodes: list[tuple[NodeSpec, Sequence[Tensor], ArchWeights, Tensor]] = []

    def mixed_op(
        self, node: NodeSpec, inputs: Sequence[Tensor], op_outputs: Sequence[Tensor]
    ) -> tuple[Tensor, ArchWeights]:
        output, weights = self.method.mixed_op(node, inputs, op_outputs)
        output.retain_grad()
        self.nodes.append((node, op_outputs, weights, output))
        return output, weights


@pytest.mark.parametrize("method_name", ["midas", "darts"])
def test_scores_equal_their_formula_patch_by_patch(method_name: str) -> None:
    config = SearchConfig(method=method_name, channels=2, cells=1, patch_size=2)
    supernet, method = (module.double() for module in build_search(SPACE, config, 2, seed=0))
    samples = sensitivities(supernet, method, [(IMAGES, LABELS)])
    observed = Observed(method.eval())
    logits, _ = supernet(IMAGES, observed)
    F.cross_entropy(logits, LABELS, reduction="sum").backward()
    scores = [node.op_weights for cell in samples["cell"] for node in cell]
    for score, (node, op_outputs, weights, output) in zip(scores, observed.nodes, strict=True):
        assert output.grad is not None
        _, rows, columns, edges, count = weights.op_weights.shape
        side = output.shape[-1] // rows
        first = 0
        for edge in range(edges):
            outputs = op_outputs[first : first + count]
            first += count
            for image in range(len(IMAGES)):
                expected = torch.zeros(count, dtype=torch.float64)
                for row in range(rows):
                    for column in range(columns):
                        ys = slice(side * row, side * (row + 1))
                        xs = slice(side * column, side * (column + 1))
                        place = (image, slice(None), ys, xs)
                        w = weights.op_weights[min(image, len(weights.op_weights) - 1)]
                        w = w[row, column, edge]
                        mixture = sum(w[e] * outputs[e][place] for e in range(count))
                        for e in range(count):
                            change = w[e] / (1 - w[e]) * (mixture - outputs[e][place])
                            loss_change = (output.grad[place] * change).sum() / side**2
                            expected[e] += loss_change.detach() ** 2 / (rows * columns)
                torch.testing.assert_close(score[image, edge], expected)
        assert node.name


def test_weights_and_modes_are_as_before() -> None:
    config = SearchConfig(channels=2, cells=1)
    supernet, method = build_search(SPACE, config, 2, seed=0)
    sensitivities(supernet, method, [(IMAGES.float(), LABELS)])
    assert method.training
    assert all(weight.requires_grad for weight in supernet.parameters())
    assert all(weight.grad is None for weight in supernet.parameters())


def test_shares_of_an_edge_sum_to_one() -> None:
    values = torch.rand(5, 3, 4)
    shares = share(values)
    assert torch.allclose(shares.sum(-1), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(
        shares * values.double().mean(0).sum(-1, keepdim=True), values.double().mean(0)
    )


@pytest.mark.parametrize("space_name", ["darts", "nasbench201"])
@pytest.mark.parametrize("method_name", ["midas", "darts", "random"])
def test_every_space_is_decoded_by_sensitivity(
    method_name: str, space_name: str, digits: Data
) -> None:
    train, _, meta = digits
    cells = 1 if space_name == "nasbench201" else 3
    search = SearchConfig(
        method=method_name, channels=2, cells=cells, images=64, batch_size=16, random_cells=2
    )
    space = get_space(space_name)
    built = build_search(space.without(search.exclude), search, len(meta.classes), seed=0)
    result = SearchResult(*built, [])
    config = DecodeConfig(samples=20, batch_size=10, aggregation="sensitivity")
    genotype, entry = decode_search(space, result, search, config, train, meta)
    space.check(genotype)
    edges = [
        edge for node in entry["distributions"].values() for cell in node for edge in cell["edges"]
    ]
    for edge in edges:
        assert sum(edge["operations"].values()) == pytest.approx(1, abs=1e-4)
