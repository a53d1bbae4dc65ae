"""The proxy trainings of one seed, shown as they go on and resumed after the last finished one."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from midas.data.prepared import DataMeta, Split
from midas.engine import seeding
from midas.engine.checkpoint import Checkpoint
from midas.engine.progress import progress
from midas.genotype import Genotype, to_line
from midas.proxy.config import ProxyConfig
from midas.proxy.local_search import LocalSearch, ProxyResult, Shares, neighbours, op_numbers
from midas.proxy.size_prior import log_size_gap
from midas.proxy.training import CPU, ParallelTrainings, ProxyScore, ProxyTraining, proxy_recipe
from midas.search.bilevel_split import BilevelSplit
from midas.search.config import SearchConfig
from midas.search.supernet import check_depth
from midas.spaces.space import Space


def run_local_search(
    start: Genotype,
    shares: Shares,
    space: Space,
    search: SearchConfig,
    config: ProxyConfig,
    train: Split,
    meta: DataMeta,
    seed: int,
    checkpoint: Checkpoint | None = None,
    device: torch.device = CPU,
) -> list[ProxyResult]:
    """`LocalSearch.run` from a decoded cell with real proxy trainings.

    They follow the recipe of `search` with the changes of `config`; `train` is halved as in the
    search. `seed` sets the weights and the order of the images; `checkpoint` keeps the scores.

    Raises:
        ParamsError: a network is too short to hold every type of cell.
    """
    known: dict[str, tuple[float, float]] = dict((checkpoint.load() if checkpoint else None) or {})
    recipe = proxy_recipe(search, config, meta)
    depths = config.cells or (search.cells,)
    for cells in depths:
        check_depth(space, cells, "search.cells" if config.cells is None else "decode.proxy.cells")
    split = BilevelSplit(train, recipe)
    training = ProxyTraining(space, recipe, depths, config.epochs, split, meta, seed, device)
    # weights and an order of the images by which no finalist was chosen
    final_seed = seeding.derive(seed, "refine", "finals")
    longer = replace(training, epochs=config.final_epochs, seed=final_seed)
    size_gap = log_size_gap(space, recipe.channels, depths, len(meta.classes))
    local_search = LocalSearch(space, config, shares, size_gap)
    total = 1 + len(neighbours(start, space)) + config.trainings + config.finalists
    title = f"proxy trainings of seed {seed}"
    processes = torch.get_num_threads() if device.type == "cpu" else 1
    with progress(title, total) as report, closing(ParallelTrainings(processes)) as run:

        def train_cells(
            training: ProxyTraining, prefix: str, cells: Sequence[Genotype]
        ) -> list[ProxyScore]:
            new = [cell for cell in cells if prefix + cell.hash not in known]
            report.skip(len(cells) - len(new))
            for cell, score in zip(new, run(training, new), strict=True):
                known[prefix + cell.hash] = (score.loss, score.accuracy)
                if checkpoint:
                    checkpoint.save(known)
                report.step(accuracy=score.accuracy, loss=score.loss)
            return [ProxyScore(*known[prefix + cell.hash]) for cell in cells]

        results = local_search.run(
            start, partial(train_cells, training, ""), partial(train_cells, longer, "final ")
        )
        numbers = op_numbers([start, results[-1].genotype], space)
        changed = int((numbers[0] != numbers[1]).sum())
        report.note(f"{len(results) - 1} proxy trainings, {changed} operations changed")
    return results


def result_rows(results: Sequence[ProxyResult]) -> list[dict[str, Any]]:
    """Proxy trainings as JSON values, in their order."""
    return [
        {
            "round": result.round,
            "cell": to_line(result.genotype),
            "loss": round(result.loss, 6),
            "predicted_loss": round(result.predicted_loss, 6),
            "objective": round(result.objective, 6),
            "accuracy": round(result.accuracy, 6),
            "final": result.final,
            "kept": result.kept,
        }
        for result in results
    ]
