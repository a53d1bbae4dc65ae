"""This project beside the public implementation of DARTS: first equal outputs, then times.

    python benchmarks/peers.py --darts CHECKOUT
    python benchmarks/peers.py --darts CHECKOUT --device cuda --graphs

CHECKOUT is a clone of https://github.com/quark0/darts; its code is run, nothing of it is copied.
Both get the same weights: of the supernet (C16, 8 cells), and of DARTS_V2 with its auxiliary head
in both skeletons at the published size. Prints how far logits and the gradients of all weights and
architecture parameters differ in float64 (exit code 1 where it is more than LIMIT), then the times
of a step in float32 (forward, backward, SGD), taken in turns, of the supernet and of the final
CIFAR network, and their ratio, ours over theirs.
"""

import argparse
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from step_time import DARTS_V2, compared, take_turns
from torch import Tensor, nn
from torch.nn import functional as F

from midas.deploy.latency import cpu_name
from midas.engine import precision
from midas.engine.cuda_graphs import graphed_step
from midas.nets.build import build_network
from midas.nets.network import AuxiliaryHead
from midas.search.config import SearchConfig
from midas.search.run import build_search
from midas.spaces import get_space

LIMIT = 1e-9  # largest difference over the largest value
# channels, cells, classes, side of the images
SIZES = {"cifar": (36, 20, 10, 32), "imagenet": (48, 14, 1000, 224)}
Modules = list[tuple[Any, Any]]  # theirs and ours, which list the same layers in the same order
Gradient = Callable[[], Tensor]


class Network(NamedTuple):
    """What is trained, and how images become logits, those of the auxiliary head behind them."""

    module: nn.Module
    logits: Callable[[Tensor], Tensor]

    def loss(self, images: Tensor, labels: Tensor, classes: int) -> Tensor:
        """The cross-entropy, summed with that of the auxiliary head."""
        parts = self.logits(images).split(classes, dim=1)
        return torch.stack([F.cross_entropy(part, labels) for part in parts]).sum()


# their network and ours with the same weights, and the gradients of each parameter in both
Twins = tuple[Network, Network, list[tuple[Gradient, Gradient]]]


def gradient(parameter: Any, rows: Any = ...) -> Gradient:
    """How to read a parameter's gradient, or some of its rows."""
    return lambda: parameter.grad[rows]


def transfer(modules: Modules) -> list[tuple[Gradient, Gradient]]:
    """Copy all weights, and batch norm's statistics where both have them."""
    gradients = []
    for theirs, ours in modules:
        for source, target in zip(theirs.parameters(), ours.parameters(), strict=True):
            target.data.copy_(source.data)
            gradients.append((gradient(source), gradient(target)))
        for source, target in zip(theirs.buffers(), ours.buffers(), strict=False):
            target.copy_(source)
    return gradients


def supernets(dtype: torch.dtype, device: str) -> Twins:
    """The DARTS supernet under static parameters."""
    primitives = importlib.import_module("genotypes").PRIMITIVES
    model = importlib.import_module("model_search")
    theirs = model.Network(C=16, num_classes=10, layers=8, criterion=nn.CrossEntropyLoss())
    space = get_space("darts")
    specs = space.edges["normal"]
    config = SearchConfig(method="darts", exclude=[])
    supernet: Any
    method: Any
    supernet, method = build_search(space, config, num_classes=10, seed=0)
    modules: Modules = [(theirs.stem, supernet.stem), (theirs.classifier, supernet.classifier)]
    order = [primitives.index(op) for op in specs[0].candidates]
    for cell, adapt, own in zip(theirs.cells, supernet.preprocess, supernet.cells, strict=True):
        modules += zip((cell.preprocess0, cell.preprocess1), adapt, strict=True)
        for mixed, operations in zip(cell._ops, own.edges, strict=True):
            modules += zip((mixed._ops[place] for place in order), operations, strict=True)
    gradients = transfer(modules)
    for module in (theirs, supernet, method):
        module.to(device, dtype)
    for kind, alphas in (("normal", theirs.alphas_normal), ("reduce", theirs.alphas_reduce)):
        alphas.data = alphas.data.to(device, dtype)  # `to` does not know them
        first = 0
        for node in range(4):
            rows = (slice(first, first + 2 + node), order)  # of [14, 8], in our order
            alpha = method.alphas[f"{kind}_node{node}"]
            alpha.data.copy_(alphas.data[rows])
            gradients.append((gradient(alphas, rows), gradient(alpha)))
            first += 2 + node
    ours = Network(supernet, lambda images: supernet(images, method)[0])
    return Network(theirs, theirs), ours, gradients


def networks(skeleton: str, dtype: torch.dtype, device: str) -> Twins:
    """DARTS_V2 in a skeleton, with its auxiliary head."""
    channels, cells, classes, _ = SIZES[skeleton]
    model = importlib.import_module("model")
    public = model.NetworkCIFAR if skeleton == "cifar" else model.NetworkImageNet
    published = importlib.import_module("genotypes").DARTS_V2
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the width of each cell
        theirs = public(channels, classes, cells, True, published)
    theirs.drop_path_prob = 0.0
    ours: Any = build_network(
        DARTS_V2, num_classes=classes, channels=channels, cells=cells, skeleton=skeleton
    )
    head = AuxiliaryHead(ours.auxiliary_channels, classes, skeleton)
    public_head = theirs.auxiliary_head
    modules: Modules = [(public_head.features, head.convs)]
    modules += [(public_head.classifier, head.classifier), (theirs.classifier, ours.classifier)]
    stems = [theirs.stem] if skeleton == "cifar" else [theirs.stem0, theirs.stem1]
    modules += zip(stems, [ours.stem0, ours.stem1], strict=False)
    for index, (cell, own) in enumerate(zip(theirs.cells, ours.cells, strict=True)):
        modules.append((cell.preprocess0, own.preprocess_before))
        modules.append((cell.preprocess1, own.preprocess_previous))
        kind = "reduce" if index in (cells // 3, 2 * cells // 3) else "normal"
        edges = enumerate(getattr(published, kind))  # two into each node, in their own order
        public_ops = {(op, source, 2 + k // 2): cell._ops[k] for k, (op, source) in edges}
        for edge, module in zip(DARTS_V2.cells[kind].edges, own.graph.edges, strict=True):
            modules.append((public_ops[edge.op, edge.source, edge.target], module.operation))
    gradients = transfer(modules)
    trained = nn.ModuleList([ours, head])
    trained.to(device, dtype).to(memory_format=torch.channels_last)
    theirs.to(device, dtype)

    def their_logits(images: Tensor) -> Tensor:
        return torch.cat([part for part in theirs(images) if part is not None], dim=1)

    def our_logits(images: Tensor) -> Tensor:
        features, auxiliary = ours.forward_cells(images)
        logits: Tensor = ours.forward_head(features)
        return torch.cat([logits, head(auxiliary)], dim=1) if ours.training else logits

    return Network(theirs, their_logits), Network(trained, our_logits), gradients


def difference(first: Tensor, second: Tensor) -> float:
    """The largest difference over the largest value of the first."""
    return float((first - second).detach().abs().max() / first.detach().abs().max())


def compare(twins: Twins, classes: int, side: int) -> Iterator[tuple[str, float]]:
    """The differences in training, and, where statistics are kept, in evaluation, by name."""
    images = torch.randn(4, 3, side, side, dtype=torch.float64)
    labels = torch.randint(0, classes, (4,))
    yield "logits in training", difference(*(n.logits(images) for n in twins[:2]))
    for network in twins[:2]:
        network.loss(images, labels, classes).backward()
    yield "gradients", max(difference(theirs(), ours()) for theirs, ours in twins[2])
    if any(True for _ in twins[1].module.buffers()):
        for network in twins[:2]:
            network.module.eval()
        with torch.no_grad():
            yield "logits in evaluation", difference(*(n.logits(images) for n in twins[:2]))


def race(twins: Twins, options: argparse.Namespace) -> str:
    """Times of a step of each, in turns, and their ratio, with quartiles."""
    images = torch.randn(options.batch, 3, 32, 32, device=options.device)
    channels_last = images.contiguous(memory_format=torch.channels_last)
    theirs = build_step(twins[0], images, graphs=False)
    ours = build_step(twins[1], channels_last, options.graphs)
    theirs_seconds, ours_seconds = take_turns([theirs, ours], options.runs)
    peer, _ = compared(theirs_seconds, theirs_seconds)
    seconds, ratio = compared(ours_seconds, theirs_seconds)
    return f"theirs {peer} s, ours {seconds} s, ratio {ratio}"


def build_step(network: Network, images: Tensor, graphs: bool) -> Callable[[], None]:
    """A step of a network (forward, backward, SGD), which waits until a GPU has done it."""
    labels = torch.randint(0, 10, (len(images),), device=images.device)
    parameters = list(network.module.parameters())
    optimiser = torch.optim.SGD(parameters, 0.025, 0.9)
    graphed = graphed_step(parameters, images.device, graphs)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        loss = network.loss(images, labels, 10)
        loss.backward()
        return loss.detach()

    def step() -> None:
        optimiser.zero_grad()
        graphed(run, images, labels)
        optimiser.step()
        if images.is_cuda:
            torch.cuda.synchronize()

    return step


def main() -> int:
    """Compare, then time; exit code 1 where a difference is too large."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--darts", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--runs", type=int, default=5, help="timed steps; 0 times nothing")
    parser.add_argument("--batch", type=int, default=64, help="of a timed step")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the timing")
    parser.add_argument("--graphs", action="store_true", help="on a GPU: ours is replayed")
    options = parser.parse_args()
    if not (options.darts / "cnn/model_search.py").is_file():
        parser.error(f"{options.darts} is not a clone of https://github.com/quark0/darts")
    sys.path.insert(0, str(options.darts / "cnn"))
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    precision.lower("float32", torch.device(options.device))  # switches TF32 off
    # the checkout asks for CUDA; its networks are moved here once they are built
    Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    print(f"{cpu_name()}, {options.threads} threads, torch {torch.__version__}", flush=True)
    worst = 0.0
    for name in ("supernet", *SIZES):
        exact = (torch.float64, "cpu")
        twins = supernets(*exact) if name == "supernet" else networks(name, *exact)
        *_, classes, side = SIZES.get(name, SIZES["cifar"])
        for what, value in compare(twins, classes, side):
            print(f"{name}: {what} differ by {value:.1e} of the largest", flush=True)
            worst = max(worst, value)
    if options.runs:
        timed = (torch.float32, options.device)
        print(f"supernet step: {race(supernets(*timed), options)}", flush=True)
        print(f"final network step: {race(networks('cifar', *timed), options)}", flush=True)
    return 1 if worst > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
