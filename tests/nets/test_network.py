"""A network computes what its genotype says, trains all its weights, and drops paths."""

import pytest
import torch
from torch import nn

from midas.genotype import CellGenotype, Edge, Genotype
from midas.io.errors import GenotypeError, ParamsError
from midas.nets.build import build_network
from midas.nets.cells import CellGraph
from midas.nets.network import AuxiliaryHead, MidasNet
from midas.zoo.registry import ZOO

DARTS_V2 = Genotype.from_value(ZOO["darts_v2"]["genotype"])
NB201 = Genotype.from_value(ZOO["nb201_midas"]["genotype"])


def small(genotype: Genotype = DARTS_V2, **kwargs: object) -> MidasNet:
    torch.manual_seed(0)
    defaults = {"num_classes": 3, "channels": 4, "cells": 3}
    return build_network(genotype, **{**defaults, **kwargs})


def test_a_cell_adds_its_edges_and_joins_its_nodes() -> None:
    edges = [
        ("skip_connect", 0, 2),
        ("max_pool_3x3", 1, 2),
        ("avg_pool_3x3", 2, 3),
        ("skip_connect", 0, 3),
    ]
    graph = CellGraph(
        CellGenotype(tuple(Edge(*edge) for edge in edges), (3, 2)), inputs=2, channels=4, stride=1
    )
    a, b = torch.randn(2, 2, 4, 6, 6)
    node2 = a + nn.functional.max_pool2d(b, 3, 1, 1)
    node3 = nn.functional.avg_pool2d(node2, 3, 1, 1, count_include_pad=False) + a
    torch.testing.assert_close(graph([a, b]), torch.cat([node3, node2], dim=1))


@pytest.mark.parametrize("genotype", [DARTS_V2, NB201], ids=["darts", "nasbench201"])
def test_sharing_a_rectified_input_changes_nothing(genotype: Genotype) -> None:
    cells = 3 if genotype is DARTS_V2 else 1
    shared, separate = (small(genotype, cells=cells).double() for _ in range(2))
    graphs = [module for module in separate.modules() if isinstance(module, CellGraph)]
    assert any(any(graph.lifted) for graph in graphs)
    for graph in graphs:  # each operation rectifies its own input again
        for edge, lifted in zip(graph.edges, graph.lifted, strict=True):
            if lifted:
                edge.operation[0] = nn.ReLU()
        graph.lifted = [False] * len(graph.lifted)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    logits = [network(images) for network in (shared, separate)]
    torch.testing.assert_close(*logits, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(y.square().sum(), list(n.parameters()))
        for y, n in zip(logits, (shared, separate), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cells", [2, 3, 5, 8])
def test_two_reductions_halve_the_map_and_double_the_channels(cells: int) -> None:
    network = small(cells=cells)
    features, auxiliary = network.forward_cells(torch.randn(2, 3, 16, 16))
    assert features.shape == (2, 4 * 4 * 4, 4, 4)
    assert auxiliary.shape[:2] == (2, network.auxiliary_channels)
    assert auxiliary.shape[2:] == (4, 4)  # behind the second reduction


def test_the_imagenet_stem_divides_the_image_by_eight() -> None:
    features = small(skeleton="imagenet").forward_features(torch.randn(1, 3, 64, 64))
    assert features.shape[2:] == (2, 2)


@pytest.mark.parametrize("size", [(15, 15), (17, 23), (9, 32)])
@pytest.mark.parametrize("genotype", [DARTS_V2, NB201], ids=["darts", "nasbench201"])
def test_odd_map_sizes_work(genotype: Genotype, size: tuple[int, int]) -> None:
    logits = small(genotype, cells=2).eval()(torch.randn(2, 3, *size))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


@pytest.mark.parametrize("skeleton", ["cifar", "imagenet"])
@pytest.mark.parametrize("size", [16, 32, 64, 96])
def test_the_auxiliary_head_takes_maps_of_any_size(skeleton: str, size: int) -> None:
    network = small(skeleton=skeleton)
    head = AuxiliaryHead(network.auxiliary_channels, 3, skeleton)
    _, features = network.forward_cells(torch.randn(2, 3, size, size))
    assert head(features).shape == (2, 3)


@pytest.mark.parametrize("genotype", [DARTS_V2, NB201], ids=["darts", "nasbench201"])
def test_every_parameter_gets_a_gradient(genotype: Genotype) -> None:
    network = small(genotype)
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


@pytest.mark.parametrize("genotype", [DARTS_V2, NB201], ids=["darts", "nasbench201"])
def test_checkpointed_gradients_are_the_same(genotype: Genotype) -> None:
    gradients = []
    for checkpointing in (False, True):
        network = small(genotype, drop_path_rate=0.3)
        network.set_grad_checkpointing(checkpointing)
        torch.manual_seed(1)
        network(torch.randn(4, 3, 16, 16)).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_drop_path_drops_whole_samples_and_scales_the_rest() -> None:
    graph = CellGraph(
        CellGenotype((Edge("avg_pool_3x3", 0, 2),), (2,)), inputs=2, channels=2, stride=1
    )
    graph.edges[0].drop_path.drop_prob = 0.3
    images = torch.ones(4000, 2, 3, 3)
    torch.manual_seed(0)
    output = graph([images, images])
    values = output.flatten(1)
    assert (values == values[:, :1]).all()  # one draw for a sample, over channels and pixels
    torch.testing.assert_close(values[:, 0].unique(), torch.tensor([0.0, 1 / 0.7]))
    assert values[:, 0].count_nonzero() / 4000 == pytest.approx(0.7, abs=0.03)  # four deviations
    assert (graph.eval()([images, images]) == 1).all()


def test_the_identity_is_never_dropped_but_a_strided_skip_is() -> None:
    edges = (Edge("skip_connect", 0, 2),)
    x = torch.rand(16, 2, 4, 4) + 1
    for stride, dropped in ((1, False), (2, True)):
        graph = CellGraph(CellGenotype(edges, (2,)), inputs=2, channels=2, stride=stride)
        drop_paths = [m for m in graph.modules() if hasattr(m, "drop_prob")]
        for module in drop_paths:
            module.drop_prob = 0.9
        assert bool(drop_paths) is dropped
        assert bool((graph([x, x]).flatten(1) == 0).all(dim=1).any()) is dropped


def test_setting_drop_path_reaches_every_operation() -> None:
    network = small()
    network.set_drop_path(0.25)
    assert {m.drop_prob for m in network.modules() if hasattr(m, "drop_prob")} == {0.25}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels: 0"),
        ({"channels": 513}, "from 1 to 512"),
        ({"channels": 4.0}, "channels: 4.0"),
        ({"cells": 1}, "cells: 1"),
        ({"cells": 65}, "cells: 65"),
        ({"num_classes": -1}, "num_classes: -1"),
        ({"skeleton": "vgg"}, "cifar, imagenet"),
        ({"skeleton": "imagenet", "channels": 1}, "from 2"),
    ],
)
def test_a_size_out_of_range_is_named_in_the_error(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        small(**arguments)


def test_a_nasbench201_cell_has_no_imagenet_skeleton() -> None:
    with pytest.raises(ParamsError, match="nasbench201"):
        small(NB201, skeleton="imagenet")


def test_an_edge_from_a_node_without_inputs_is_an_error() -> None:
    cell = CellGenotype((Edge("skip_connect", 2, 3), Edge("skip_connect", 0, 3)), (3,))
    with pytest.raises(GenotypeError, match="leaves node 2"):
        small(Genotype("darts", {"normal": cell, "reduce": cell}))


def test_an_operation_of_another_space_is_an_error() -> None:
    cell = CellGenotype((Edge("nor_conv_3x3", 0, 2),), (2,))
    with pytest.raises(GenotypeError, match="nor_conv_3x3"):
        small(Genotype("darts", {"normal": cell, "reduce": cell}))


@pytest.mark.slow
# torch.compile itself reads .grad
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_every_cell_is_compiled_however_many_shapes_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_(module, backend="eager"))
    network = small(cells=12)  # of ten shapes; torch's limit is 8
    network.compile_cells()
    images = torch.randn(2, 3, 16, 16)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        compiled = network.train()(images)
    assert compiled.shape == (2, 3)
