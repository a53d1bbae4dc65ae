"""A search from start to end, and its files. Its steps are in `midas.search.bilevel`.

Where `search.genotype` names a cell, what a search would have written is there and empty.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from midas.data.prepared import DataMeta, Split
from midas.engine import loop, memory, seeding
from midas.engine.checkpoint import Checkpoint
from midas.engine.distributed import ALONE, Distributed
from midas.genotype import Genotype, load_genotype
from midas.io import files
from midas.io.errors import GenotypeError, MidasError, ParamsError
from midas.search.bilevel import BilevelSearch, BilevelSplit, Monitor
from midas.search.config import SearchConfig
from midas.search.methods import Method, build_method
from midas.search.supernet import Supernet, check_depth
from midas.spaces.space import Space


class SearchResult(NamedTuple):
    """A finished search. The history has one row an epoch."""

    supernet: Supernet
    method: Method
    history: list[dict[str, Any]]


def build_search(
    space: Space, config: SearchConfig, num_classes: int, seed: int
) -> tuple[Supernet, Method]:
    """A fresh supernet and method; ParamsError where the stack lacks a type of cell."""
    check_depth(space, config.cells, "search.cells")
    seeding.seed_torch(seed, "search", "weights")
    supernet = Supernet(space, config.channels, config.cells, num_classes)
    supernet.to(memory_format=torch.channels_last)
    seeding.seed_torch(seed, "search", "arm")  # the label is part of every recorded result
    return supernet, build_method(space, supernet.node_specs, config)


def run_search(
    space: Space,
    config: SearchConfig,
    train: Split,
    meta: DataMeta,
    seed: int,
    checkpoint: Checkpoint | None = None,
    distributed: Distributed = ALONE,
    monitor: Monitor | None = None,
) -> SearchResult:
    """Search one seed, from which everything random follows; a checkpoint lets a run go on.

    `config.exclude` is taken out of `space` here. Half of the images of `train` train the weights,
    half the architecture. `monitor` adds columns to each epoch's row (`midas.decode.monitor`).

    Raises:
        ParamsError: the batch cannot be divided among processes and parts.
        MidasError: a step would not fit into memory, or the search was interrupted.
        TrainingDiverged: a loss is not a number; the checkpoint holds the last good state.
    """
    space = space.without(config.exclude)
    supernet, method = build_search(space, config, len(meta.classes), seed)
    supernet.to(distributed.device)
    method.to(distributed.device)
    split = BilevelSplit(train, config)
    search = BilevelSearch(supernet, method, config, split, meta, seed, distributed, monitor)
    _check_memory(search)
    finished = loop.run(search, config.epochs, checkpoint, distributed)
    return SearchResult(supernet, method, finished.history)


def _check_memory(search: BilevelSearch) -> None:
    config = search.config
    images = search.split.weights.images
    batch = min(config.batch_size, len(images))
    size = images.shape[-1]
    needed = search_bytes(search.supernet, search.method, size, batch // search.total_parts)
    advice = (
        f"make search.batch_size ({batch}), channels ({config.channels}) or image_size ({size}) "
        f"smaller, or search.accumulate ({config.accumulate}) larger"
    )
    memory.check(search.title, needed, search.distributed.device, advice)


def search_bytes(supernet: Supernet, method: Method, size: int, batch: int) -> int:
    """The most bytes that a step holds; afterwards all weights require gradients."""
    modules = (supernet.requires_grad_(True), method.requires_grad_(True))

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(supernet(images, method)[0], labels)

    parameters = [weight for module in modules for weight in module.parameters()]
    return memory.step_bytes(loss, size, batch, parameters)


def save_search(path: Path, result: SearchResult) -> None:
    """Write the weights of supernet and method, whole or not at all."""
    tensors = _modules(result.supernet, result.method).state_dict()
    files.write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def save_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Write history.csv, a row an epoch, and weights.csv, a row for each weight of each epoch."""
    rows = [{k: v for k, v in row.items() if k != "weights"} for row in history]
    weights = [
        {"epoch": row["epoch"], **weight} for row in history for weight in row.get("weights", [])
    ]
    files.write_csv(folder / "history.csv", rows)
    files.write_csv(folder / "weights.csv", weights)


def load_search(
    path: Path, space: Space, config: SearchConfig, num_classes: int
) -> tuple[Supernet, Method]:
    """Supernet and method as `save_search` left them; MidasError where the file does not fit."""
    supernet, method = build_search(space.without(config.exclude), config, num_classes, seed=0)
    run = "run the search stage of this seed"
    try:
        tensors = load_file(path)
        head = tensors.get("supernet.classifier.bias")
        if head is not None and len(head) != num_classes:
            raise MidasError(
                f"{path}: was searched on data of {len(head)} classes, and artifacts/data holds "
                f"{num_classes} now; {run} again"
            )
        _modules(supernet, method).load_state_dict(tensors)
    except FileNotFoundError as error:
        raise MidasError(f"{path}: there is no such file; {run} first") from error
    except (SafetensorError, RuntimeError, OSError) as error:
        text = f"does not hold this search ({str(error).splitlines()[0]})"
        raise MidasError(f"{path}: {text}; {run} again") from error
    return supernet, method


def _modules(supernet: Supernet, method: Method) -> nn.ModuleDict:
    return nn.ModuleDict({"supernet": supernet, "method": method})  # the names in the file


SEEDS_HEADER = "seed,subnetwork_accuracy,patches\n"


def fixed_genotype(space: Space, config: SearchConfig, written: Path) -> Genotype | None:
    """The cell that the parameters name, or None; ParamsError where it cannot be taken."""
    if config.genotype is None:
        return None
    if Path(config.genotype).resolve().is_relative_to(written.resolve()):
        raise ParamsError(
            f"search.genotype: {config.genotype} lies where this pipeline writes its own; copy it "
            "first"
        )
    try:
        genotype = load_genotype(config.genotype)
    except GenotypeError as error:
        raise ParamsError(f"search.genotype: {error}") from error
    if genotype.space != space.name:
        raise ParamsError(
            f"search.genotype: {config.genotype} is of the space {genotype.space}; set space: "
            f"{genotype.space}"
        )
    space.check(genotype)
    return genotype


def write_empty_search(folder: Path) -> None:
    """Write what a search writes, with nothing in it."""
    files.write_bytes(folder / "search.safetensors", save({}))
    files.write_text(folder / "history.csv", "epoch,step,arch_accuracy\n")
    files.write_text(folder / "weights.csv", "epoch,cell,node,inputs,choice,weight\n")
