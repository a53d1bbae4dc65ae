"""A local search among cells by proxy trainings, which show what a supernet cannot.

In a supernet every edge holds some skip connection, so nothing in it asks whether the decoded cell,
alone and deep, can still be trained. Proxy trainings of whole networks do; DARTS itself trains the
cells of four searches briefly and keeps the best (arXiv 1806.09055, section 3.1).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from midas.data.prepared import DataMeta, Split
from midas.decode.config import Aggregation
from midas.decode.decode import Samples, by_name, distributions, is_static
from midas.engine import seeding
from midas.engine.checkpoint import Checkpoint
from midas.engine.loop import progress
from midas.genotype import CellGenotype, Genotype, to_line
from midas.proxy.config import ProxyConfig
from midas.proxy.priors import log_size_gap, predict_mean
from midas.proxy.training import CPU, ParallelTrainings, ProxyScore, ProxyTraining, proxy_recipe
from midas.search.bilevel import BilevelSplit
from midas.search.config import SearchConfig
from midas.search.supernet import check_depth
from midas.spaces.space import Space

TrainCells = Callable[[Sequence[Genotype]], Sequence[ProxyScore]]
Shares = Mapping[tuple[str, int, int, str], float]  # of type of cell, source, target and operation
ROUND = 2  # cells of a round, chosen before any of them is known, so that they can run side by side


class ProxyResult(NamedTuple):
    """One proxy training."""

    round: int  # 0 for the decoded cell and its neighbours; the finals are the last round
    genotype: Genotype
    loss: float  # as in `ProxyScore`, as is the accuracy
    accuracy: float
    predicted_loss: float = math.nan  # posterior mean in nats; of a final its own, lower loss
    objective: float = math.nan  # `predicted_loss` with the size prior; compares cells of all seeds
    final: bool = False  # a finalist's longer training
    kept: bool = False


class LocalSearch:
    """The proxy trainings around one decoded cell.

    First come the decoded cell and all its neighbours. Then, round after round, come the neighbours
    of trained cells that rank first. A cell's rank is its posterior mean loss, in nats, less
    `temperature` times the sum over its edges of the logarithm of the operation's share in the
    search: as if the shares were a prior, and exp(-loss / temperature) the likelihood. The size gap
    times `size_prior` is added, which a long training would show and a short one does not. Last,
    the best cells may be trained again, longer, because late epochs decide among good cells.

    `space` is without what the search left out. `shares` are above 0; none count operations as
    equal. `size_gap` is ln(largest / weights) of a cell's networks.
    """

    def __init__(
        self,
        space: Space,
        config: ProxyConfig,
        shares: Shares,
        size_gap: Callable[[Genotype], float] = lambda cell: 0.0,
    ) -> None:
        self.space = space
        self.config = config
        self.shares = shares
        self.size_gap = size_gap
        self.trained: dict[str, ProxyResult] = {}

    def run(
        self,
        first: Sequence[Genotype],
        train: TrainCells,
        train_longer: TrainCells | None = None,
    ) -> list[ProxyResult]:
        """Train `first`, then other cells; all trainings in order, and the kept cell's again.

        `train_longer` trains finalists longer and from other weights; None leaves the finals out.
        """
        chosen = list(first)
        total = len(chosen) + self.config.trainings
        candidates: dict[str, Genotype] = {}
        number = 0
        while chosen:
            for cell, score in zip(chosen, train(chosen), strict=True):
                self.trained[cell.hash] = ProxyResult(number, cell, *score)
                candidates |= {near.hash: near for near in neighbours(cell, self.space)}
            number += 1
            new = [cell for key, cell in candidates.items() if key not in self.trained]
            count = min(ROUND, total - len(self.trained))
            chosen = _best(new, self._predict(new)[1], count) if new and count else []
        return self._finish(number, train_longer)

    def _finish(self, number: int, train_longer: TrainCells | None) -> list[ProxyResult]:
        """All trainings with their predictions, the finals, and the kept cell once more."""
        cells = [result.genotype for result in self.trained.values()]
        losses, ranks = self._predict(cells)
        results = [
            self._with_loss(result, loss)
            for result, loss in zip(self.trained.values(), losses.tolist(), strict=True)
        ]
        if not self.config.finalists or train_longer is None:
            return [*results, results[int(ranks.argmin())]._replace(kept=True)]
        finalists = _best(cells, ranks, self.config.finalists)
        finals = [
            self._with_loss(ProxyResult(number, cell, *score, final=True), score.loss)
            for cell, score in zip(finalists, train_longer(finalists), strict=True)
        ]
        kept = min(finals, key=lambda result: result.objective)
        return [*results, *finals, kept._replace(kept=True)]

    def _predict(self, cells: Sequence[Genotype]) -> tuple[Tensor, Tensor]:
        """The cells' posterior mean losses and their ranks, in nats, [cells]; lower is better."""
        seen = op_numbers([result.genotype for result in self.trained.values()], self.space)
        losses = [result.loss for result in self.trained.values()]
        predicted = predict_mean(seen, losses, op_numbers(cells, self.space))
        priors = [
            self.config.size_prior * self.size_gap(cell)
            - self.config.temperature * log_share(cell, self.shares)
            for cell in cells
        ]
        return predicted, predicted + torch.tensor(priors, dtype=torch.float64)

    def _with_loss(self, result: ProxyResult, loss: float) -> ProxyResult:
        objective = loss + self.config.size_prior * self.size_gap(result.genotype)
        return result._replace(predicted_loss=loss, objective=objective)


def _best(cells: Sequence[Genotype], ranks: Tensor, count: int) -> list[Genotype]:
    return [cells[place] for place in ranks.argsort(stable=True)[:count].tolist()]


def op_shares(samples: Samples, space: Space, aggregation: Aggregation, images: int) -> Shares:
    """The share of each operation on each edge, as if each had one more of the images' votes.

    `samples` are the weights that were decoded. Those of a static method are averaged, as one voice
    is no vote. `space` is without what the search left out.
    """
    aggregated = distributions(samples, "mean" if is_static(samples) else aggregation)
    return {
        (kind, spec.source, spec.target, op): (share * images + 1) / (images + len(spec.candidates))
        for kind, nodes in aggregated.items()
        for specs, node in zip(space.nodes(kind), nodes, strict=True)
        for spec, named in zip(specs, by_name(specs, node.op_weights), strict=True)
        for op, share in named.items()
    }


def neighbours(genotype: Genotype, space: Space) -> list[Genotype]:
    """All cells that differ in one operation. `none` comes only where the space keeps all edges."""
    result = []
    for kind, cell in genotype.cells.items():
        for number, edge in enumerate(cell.edges):
            for op in space.candidates(kind, edge.source, edge.target):
                if op == edge.op or (op == "none" and space.keep is not None):
                    continue
                edges = (*cell.edges[:number], edge._replace(op=op), *cell.edges[number + 1 :])
                changed = {**genotype.cells, kind: CellGenotype(edges, cell.concat)}
                result.append(Genotype(genotype.space, changed))
    return result


def log_share(genotype: Genotype, shares: Shares) -> float:
    """The logarithm of the shares of a cell's operations in the search, summed over its edges."""
    if not shares:
        return 0.0
    edges = [(kind, *edge) for kind, cell in genotype.cells.items() for edge in cell.edges]
    return sum(math.log(shares[kind, source, target, op]) for kind, op, source, target in edges)


def op_numbers(genotypes: Sequence[Genotype], space: Space) -> Tensor:
    """The operations of cells that have the same edges, as numbers [cells, edges]."""
    rows = [
        [
            space.candidates(kind, edge.source, edge.target).index(edge.op)
            for kind, cell in genotype.cells.items()
            for edge in cell.edges
        ]
        for genotype in genotypes
    ]
    return torch.tensor(rows)


def run_local_search(
    first: Sequence[Genotype],
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
    """`LocalSearch.run` with real proxy trainings, `first` of a decoded cell and its neighbours.

    They follow the recipe of `search` with the changes of `config`; `train` is halved as in the
    search. `seed` sets the weights and the order of the images; `checkpoint` keeps the scores.
    ParamsError where a network is too short to hold every type of cell.
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
    total = len(first) + config.trainings + config.finalists
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
            first, partial(train_cells, training, ""), partial(train_cells, longer, "final ")
        )
        numbers = op_numbers([first[0], results[-1].genotype], space)
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
