"""Whether our networks compute what the public implementation of DARTS computes: the same random weights, the same logits.

    python benchmarks/darts_parity.py CHECKOUT

CHECKOUT is a clone of https://github.com/quark0/darts that the reader has; its code is run, nothing of it is copied.
DARTS_V2 in both skeletons at the published size, float64, evaluation and training mode (drop path 0), main and auxiliary logits.
"""

import argparse
import contextlib
import importlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from midas.genotype import Genotype
from midas.nets.auxiliary import AuxiliaryHead
from midas.nets.build import build_network
from midas.nets.registry import ZOO

LIMIT = 1e-9  # largest difference over the largest logit
GENOTYPE = Genotype.from_value(ZOO["darts_v2"]["genotype"])
SIZES = {"cifar": (36, 20, 10, 32), "imagenet": (48, 14, 1000, 224)}  # channels, cells, classes, pixels


def main() -> None:
    """Print a line for each skeleton and mode; exit with 1 where a difference is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a clone of quark0/darts")
    parser.add_argument("--skeleton", choices=SIZES, nargs="*", default=list(SIZES))
    arguments = parser.parse_args()
    if not (arguments.checkout / "cnn" / "model.py").is_file():
        sys.exit(f"{arguments.checkout}: has no cnn/model.py; it must be a clone of https://github.com/quark0/darts")
    sys.path.insert(0, str(arguments.checkout / "cnn"))
    worst = max(difference for skeleton in arguments.skeleton for difference in compare(skeleton))
    sys.exit(0 if worst <= LIMIT else f"the largest difference {worst:.1e} is above {LIMIT:.0e}")


def compare(skeleton: str) -> list[float]:
    """The relative differences of the logits of both implementations."""
    channels, cells, classes, pixels = SIZES[skeleton]
    torch.manual_seed(0)
    theirs = public_network(skeleton, channels, cells, classes).double()
    ours = build_network(GENOTYPE, num_classes=classes, channels=channels, cells=cells, skeleton=skeleton).double()
    head = AuxiliaryHead(ours.auxiliary_channels, classes, skeleton).double()
    for source, target in pairs(theirs, ours, head):
        transfer(source, target)
    images, differences = torch.randn(4, 3, pixels, pixels, dtype=torch.float64), []
    for training in (True, False):  # training first: it moves the batch norm statistics, which evaluation then reads
        for module in (theirs, ours, head):
            module.train(training)
        with torch.no_grad():
            expected, expected_auxiliary = theirs(images)
            features, auxiliary = ours.forward_cells(images)
            found = {"logits": (ours.forward_head(features), expected)}
            if training:
                found["auxiliary logits"] = (head(auxiliary), expected_auxiliary)
        for name, (one, other) in found.items():
            differences.append(float((one - other).abs().max() / other.abs().max()))
            mode = "training" if training else "evaluation"
            print(f"{skeleton}, {mode}, {name}: relative difference {differences[-1]:.1e}")
    return differences


def public_network(skeleton: str, channels: int, cells: int, classes: int) -> Any:
    """The public implementation's network, with its auxiliary head and fresh weights."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the width of each cell
        model, genotypes = importlib.import_module("model"), importlib.import_module("genotypes")
        kind = model.NetworkCIFAR if skeleton == "cifar" else model.NetworkImageNet
        network = kind(channels, classes, cells, True, genotypes.DARTS_V2)
    network.drop_path_prob = 0.0
    return network


def pairs(theirs: Any, ours: Any, head: AuxiliaryHead) -> list[tuple[nn.Module, nn.Module]]:
    """Modules of the two networks that correspond; edges by operation, source and target, not by their order."""
    stems = (
        [(theirs.stem, ours.stem0)]
        if hasattr(theirs, "stem")
        else [(theirs.stem0, ours.stem0), (theirs.stem1, ours.stem1)]
    )
    found = [*stems, (theirs.classifier, ours.classifier)]
    found += [(theirs.auxiliary_head.features, head.convs), (theirs.auxiliary_head.classifier, head.classifier)]
    genotypes = importlib.import_module("genotypes")
    for index, (cell, own) in enumerate(zip(theirs.cells, ours.cells, strict=True)):
        found += [(cell.preprocess0, own.preprocess_before), (cell.preprocess1, own.preprocess_previous)]
        reduction = index in (len(theirs.cells) // 3, 2 * len(theirs.cells) // 3)
        listed = genotypes.DARTS_V2.reduce if reduction else genotypes.DARTS_V2.normal
        places = {(op, source, 2 + i // 2): cell._ops[i] for i, (op, source) in enumerate(listed)}
        edges = GENOTYPE.cells["reduce" if reduction else "normal"].edges
        found += [
            (places.pop((edge.op, edge.source, edge.target)), module.operation)
            for edge, module in zip(edges, own.graph.edges, strict=True)
        ]
        assert not places, "the two genotypes differ"
    return found


def transfer(source: nn.Module, target: nn.Module) -> None:
    """Copy all weights and statistics; both modules list the same layers in the same order."""
    own: dict[str, Tensor] = target.state_dict()
    given = list(source.state_dict().values())
    target.load_state_dict(dict(zip(own, given, strict=True)))


if __name__ == "__main__":
    main()
