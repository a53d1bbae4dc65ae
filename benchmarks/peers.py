"""This project beside public implementations that lie on the reader's disk: first equal, then faster or not.

    python benchmarks/peers.py --darts DARTS                    a checkout of quark0/darts
    python benchmarks/peers.py --confopt CONFOPT                a checkout of automl/ConfigurableOptimizer, with
                                                                thop, wandb and ConfigSpace installed

The same weights are copied into both networks. In float64 the logits and the gradients of all weights and architecture
parameters are compared; then, in float32, a step (forward, backward, SGD) of each is timed in turns. Where a peer asks
for CUDA, it is given the CPU.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest.mock import MagicMock

import darts_parity
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from midas.bench.cases import StepCase
from midas.bench.latency import cpu_name
from midas.bench.steps import roofline
from midas.nets.auxiliary import AuxiliaryHead
from midas.nets.build import build_network
from midas.runs import precision
from midas.runs.replay import runner
from midas.search.bilevel import build_search
from midas.search.config import SearchConfig
from midas.search.supernet import SearchCell
from midas.spaces import get_space

Runner = tuple[nn.Module, Callable[[Tensor], Tensor]]  # what learns, and from images to logits
Pairs = list[tuple[Any, Tensor]]  # a tensor of the peer's and the same one of ours


def peer_module(folder: Path, name: str) -> types.ModuleType:
    """A module of the peer's, by its own name."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def both(theirs: nn.Module, ours: nn.Module) -> Pairs:
    """The parameters of two modules that have them in the same order."""
    return list(zip(theirs.parameters(), ours.parameters(), strict=True))


def supernet_pairs(theirs: Any, supernet: Any, primitives: list[str]) -> Pairs:
    """Weights and architecture parameters of a DARTS supernet, ours beside the peer's."""
    space = get_space("darts")
    pairs = both(theirs.stem, supernet.stem) + both(theirs.classifier, supernet.classifier)
    for cell, preprocess, own in zip(theirs.cells, supernet.preprocess, supernet.cells, strict=True):
        assert isinstance(own, SearchCell)
        pairs += both(cell.preprocess0, preprocess[0]) + both(cell.preprocess1, preprocess[1])
        for edge, candidates, spec in zip(cell._ops, own.edges, space.edges["normal"], strict=True):
            for name, operation in zip(spec.candidates, cast(nn.ModuleList, candidates), strict=True):
                choices = edge._ops if hasattr(edge, "_ops") else edge.ops
                pairs += both(choices[primitives.index(name)], operation)
    return pairs


def copy_alphas(theirs: Any, arm: Any, primitives: list[str]) -> Pairs:
    """Give our static parameters the peer's values; returns rows of both in the same order of operations."""
    order = [primitives.index(name) for name in get_space("darts").edges["normal"][0].candidates]
    pairs: Pairs = []
    for kind, alphas in (("normal", theirs.alphas_normal), ("reduce", theirs.alphas_reduce)):
        first = 0
        for node in range(4):
            own = arm.alphas[f"{kind}_node{node}"]
            with torch.no_grad():
                own.copy_(alphas[first : first + 2 + node][:, order])
            pairs.append((_Rows(alphas, slice(first, first + 2 + node), order), own))
            first += 2 + node
    return pairs


class _Rows:
    """Some rows of a peer's parameters, whose gradient is read in our order of operations."""

    def __init__(self, alphas: Tensor, rows: slice, order: list[int]) -> None:
        self.alphas, self.rows, self.order = alphas, rows, order

    @property
    def grad(self) -> Tensor:
        """Of these rows."""
        assert self.alphas.grad is not None
        return self.alphas.grad[self.rows][:, self.order]


def copy(pairs: Pairs) -> None:
    """Give ours the peer's values."""
    with torch.no_grad():
        for theirs, ours in pairs:
            ours.copy_(theirs)


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))


def compare(theirs: Callable[[Tensor], Tensor], ours: Callable[[Tensor], Tensor], pairs: Pairs, size: int) -> str:
    """Logits and gradients of both in float64 on the same images."""
    images, labels = torch.randn(4, 3, size, size, dtype=torch.float64), torch.randint(0, 10, (4,))
    logits = [network(images) for network in (theirs, ours)]
    for out in logits:
        F.cross_entropy(out[:, :10], labels).backward()
    largest = max(
        difference(own.grad, peer.grad) for peer, own in pairs if own.grad is not None and peer.grad is not None
    )
    return f"logits differ by {difference(*logits):.1e}, gradients by {largest:.1e} of the largest"


def race(
    theirs: tuple[nn.Module, Callable[[Tensor], Tensor]],
    ours: tuple[nn.Module, Callable[[Tensor], Tensor]],
    options: argparse.Namespace,
) -> str:
    """Median time of a step of each, in turns."""
    device = torch.device(options.device)
    images = torch.randn(options.batch, 3, 32, 32, device=device)
    labels = torch.randint(0, 10, (options.batch,), device=device)
    steps = [
        stepper(theirs, images, labels, "float32", graphs=False),
        stepper(ours, images.contiguous(memory_format=torch.channels_last), labels, options.precision, options.graphs),
    ]
    seen: list[list[float]] = [[], []]
    for run in range(options.runs + 3):
        for step, times in zip(steps, seen, strict=True):
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if run >= 3:
                times.append(time.perf_counter() - start)
    peer, own = (statistics.median(times) for times in seen)
    ratio = f"ratio {own / peer:.2f} (batch {options.batch}, {options.runs} runs)"
    return f"theirs {1000 * peer:.1f} ms, ours {1000 * own:.1f} ms, {ratio}"


def stepper(
    trained: Runner, images: Tensor, labels: Tensor, lower: precision.Precision, graphs: bool
) -> Callable[[], None]:
    """A step of a network: forward, backward, SGD."""
    module, network = trained[0].to(images.device), trained[1]
    parameters = list(module.parameters())
    optimiser = torch.optim.SGD(parameters, 0.025, 0.9)

    def run(x: Tensor, y: Tensor) -> Tensor:
        with precision.lower(lower, x.device):
            loss = F.cross_entropy(network(x), y)
        loss.backward()
        return loss.detach()

    recorder = runner(parameters, images.device, graphs)

    def step() -> None:
        optimiser.zero_grad()
        recorder(run, images, labels)
        optimiser.step()

    return step


def supernet_report(name: str, network: type, primitives: list[str], options: argparse.Namespace) -> None:
    """Equality and time of a peer's DARTS supernet under static parameters."""

    def pair(dtype: torch.dtype) -> tuple[Any, Any, Any, Pairs]:
        theirs = network(C=16, num_classes=10, layers=8, criterion=nn.CrossEntropyLoss())
        config = SearchConfig(arm="darts", exclude=[])
        supernet, arm = build_search(get_space("darts"), config, num_classes=10, seed=0)
        weights = supernet_pairs(theirs, supernet, primitives)
        copy(weights)
        alphas = copy_alphas(theirs, arm, primitives)
        if dtype == torch.float64:
            for module in (theirs, supernet, arm):
                module.double()
            for alpha in (theirs.alphas_normal, theirs.alphas_reduce):
                alpha.data = alpha.data.double()
        return theirs.train(), supernet.train(), arm, weights + alphas

    def logits_of(theirs: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: out[-1] if isinstance(out := theirs(x), tuple) else out

    theirs, supernet, arm, pairs = pair(torch.float64)
    print(f"{name}, supernet: {compare(logits_of(theirs), lambda x: supernet(x, arm)[0], pairs, 32)}")
    theirs, supernet, arm, _ = pair(torch.float32)
    arm.to(options.device)
    for alpha in (theirs.alphas_normal, theirs.alphas_reduce):  # `to` does not know them
        alpha.data = alpha.data.to(options.device)
    print(f"{name}, supernet: {race((theirs, logits_of(theirs)), (supernet, lambda x: supernet(x, arm)[0]), options)}")
    print(f"ours: {roofline(StepCase('supernet', 'darts', batch=options.batch, device=options.device))}")


def network_report(name: str, folder: Path, options: argparse.Namespace) -> None:
    """Equality and time of the peer's NetworkCIFAR with DARTS_V2."""
    peer_module(folder, "model")  # darts_parity reads it from the same place

    def pair() -> tuple[Any, Any, AuxiliaryHead, Pairs]:
        theirs = darts_parity.public_network("cifar", 36, 20, 10)
        ours = build_network(darts_parity.GENOTYPE, num_classes=10, channels=36, cells=20)
        head = AuxiliaryHead(ours.auxiliary_channels, 10)
        modules = darts_parity.pairs(theirs, ours, head)
        for source, target in modules:
            darts_parity.transfer(source, target)
        found = [tensors for source, target in modules for tensors in both(source, target)]
        return theirs, ours.to(memory_format=torch.channels_last), head.to(memory_format=torch.channels_last), found

    theirs, ours, head, pairs = pair()
    for module in (theirs, ours, head):
        module.double()

    def own(x: Tensor) -> Tensor:
        features, auxiliary = ours.forward_cells(x)
        return torch.cat([ours.forward_head(features), head(auxiliary)], dim=1)

    print(f"{name}, NetworkCIFAR: {compare(lambda x: torch.cat(theirs(x), dim=1), own, pairs, 32)}")
    for module in (theirs, ours):
        module.eval()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        print(f"{name}, NetworkCIFAR in evaluation: logits differ by {difference(theirs(images)[0], ours(images)):.1e}")
    theirs, ours, _, _ = pair()
    theirs._auxiliary = False
    theirs.auxiliary_head.requires_grad_(False)
    runners = (theirs.train(), lambda x: theirs(x)[0]), (ours.train(), ours)
    print(f"{name}, NetworkCIFAR: {race(*runners, options)}")
    case = StepCase("network", cell="darts_v2", channels=36, cells=20, batch=options.batch, device=options.device)
    print(f"ours: {roofline(case)}")
    if options.compile:
        ours.compile_cells()
        print(f"{name}, NetworkCIFAR, ours compiled: {race(*runners, options)}")


def main() -> None:
    """Compare with every peer that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--darts", type=Path, help="checkout of quark0/darts")
    parser.add_argument("--confopt", type=Path, help="checkout of automl/ConfigurableOptimizer")
    parser.add_argument("--compile", action="store_true", help="time NetworkCIFAR with our cells compiled, too")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where steps are timed")
    parser.add_argument("--precision", default="float32", help="ours; theirs is float32 (tf32, bfloat16)")
    parser.add_argument("--graphs", action="store_true", help="on a GPU: ours is recorded and replayed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    # peers ask for CUDA as they are built; here they are moved afterwards, and to replace a method is what is meant
    Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    print(f"{cpu_name()}, {options.threads} threads, torch {torch.__version__}")
    if options.darts:
        folder = options.darts / "cnn"
        primitives = peer_module(folder, "genotypes").PRIMITIVES
        supernet_report("quark0/darts", peer_module(folder, "model_search").Network, primitives, options)
        network_report("quark0/darts", folder, options)
    if options.confopt:
        sys.modules.setdefault("nasbench", MagicMock())  # what its package imports for another space and PyPI has not
        search = peer_module(options.confopt / "src", "confopt.searchspace.darts.core.model_search")
        supernet_report("confopt", search.Network, list(search.PRIMITIVES), options)


if __name__ == "__main__":
    main()
