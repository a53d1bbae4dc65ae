"""The proxy trainings of one seed: real ones, resumed after the last that was finished."""

from pathlib import Path

import pytest
import torch
from test_local_search import SPACE, START, darts_cell, score, search, train

from midas.data.prepared import DataMeta, Split
from midas.decode.decode import NodeWeights
from midas.engine.checkpoint import Checkpoint
from midas.genotype import Genotype
from midas.io.errors import ParamsError
from midas.proxy import local_search as module
from midas.proxy.config import ProxyConfig
from midas.proxy.local_search import (
    ProxyResult,
    neighbours,
    op_shares,
    result_rows,
    run_local_search,
)
from midas.proxy.training import ProxyScore, ProxyTraining
from midas.search.config import SearchConfig
from midas.spaces import get_space

FIRST = [START, *neighbours(START, SPACE)]

Data = tuple[Split, Split, DataMeta]


def test_shares_count_every_operation_with_one_more_vote() -> None:
    weights = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    nodes = [NodeWeights(weights.expand(1, n, 4), None) for n in (1, 2, 3)]
    shares = op_shares({"cell": [nodes]}, SPACE, "mean", images=96)
    assert len(shares) == 6 * 4
    first, second, third, _ = SPACE.nodes("cell")[2][1].candidates
    assert shares["cell", 1, 3, first] == shares["cell", 1, 3, second] == 49 / 100
    assert shares["cell", 1, 3, third] == 1 / 100


@pytest.mark.parametrize(("samples", "share"), [(1, 0.3), (2, 0.5)])
def test_the_shares_are_votes_and_of_static_weights_the_weights(samples: int, share: float) -> None:
    """Two images vote for different operations; one row of weights stands for all images."""
    rows = torch.tensor([[0.3, 0.28, 0.22, 0.2], [0.2, 0.4, 0.2, 0.2]])[:samples]
    nodes = [NodeWeights(rows[:, None].expand(-1, n, -1), None) for n in (1, 2, 3)]
    op = SPACE.nodes("cell")[0][0].candidates[0]
    shares = op_shares({"cell": [nodes]}, SPACE, "vote", 96)
    assert shares["cell", 0, 1, op] == pytest.approx((96 * share + 1) / 100)


@pytest.mark.parametrize("kill_after", [5, 23])  # among the first, and in the finals
def test_trainings_that_were_done_are_not_done_again_after_an_interruption(
    kill_after: int, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _, meta = digits
    recipe = SearchConfig(channels=2, cells=1, images=64, batch_size=16)
    config = ProxyConfig(trainings=3, epochs=2, finalists=2, final_epochs=5)
    done = list[tuple[str, int, int]]()

    class Counted(ProxyTraining):
        def __call__(self, genotype: Genotype) -> ProxyScore:
            if len(done) == kill_after:
                done.append(("killed", 0, 0))
                raise KeyboardInterrupt
            done.append((genotype.hash, self.epochs, self.seed))
            return score(genotype)

    monkeypatch.setattr(module, "ProxyTraining", Counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # in this process
    checkpoint = Checkpoint(tmp_path / "decode-0", "print")

    def run() -> list[ProxyResult]:
        return run_local_search(FIRST, {}, SPACE, recipe, config, images, meta, 0, checkpoint)

    with pytest.raises(KeyboardInterrupt):
        run()
    results = run()
    assert results == search(config, train_longer=train)
    assert len(done) == len(set(done)) == (1 + 6 * 3) + 1 + 3 + 2
    done.remove(("killed", 0, 0))
    assert [epochs for _, epochs, _ in done] == [2] * (19 + 3) + [5] * 2
    assert len({seed for *_, seed in done[:-2]}) == len({seed for *_, seed in done[-2:]}) == 1
    assert done[0][2] != done[-1][2]  # finals are from other weights


def test_real_trainings_with_finals_keep_the_lowest_objective_and_write_all_down(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _, meta = digits
    recipe = SearchConfig(channels=2, cells=1, images=64, batch_size=16)
    config = ProxyConfig(trainings=2, epochs=1, finalists=2, final_epochs=3, size_prior=0.01)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # in this process
    results = run_local_search(FIRST, {}, SPACE, recipe, config, images, meta, seed=0)
    rows = result_rows(results)
    finals = [row for row in rows if row["final"] and not row["kept"]]
    assert [len(rows), len(finals)] == [19 + 2 + 2 + 1, 2]
    assert rows[-1] == {**min(finals, key=lambda row: row["objective"]), "kept": True}
    assert Genotype.from_arch(rows[-1]["cell"]) == results[-1].genotype
    assert all(row["objective"] >= row["predicted_loss"] for row in rows)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((2,), r"decode\.proxy\.cells: a stack of 2 has no normal cell; use 3 or more"),
        ((3, 1), r"decode\.proxy\.cells: a stack of 1 has no normal cell"),
        (None, r"search\.cells: a stack of 2 has no normal cell"),
    ],
)
def test_networks_too_short_to_hold_every_type_of_cell_are_refused(
    digits: Data, cells: tuple[int, ...] | None, message: str
) -> None:
    space = get_space("darts").without(["none"])
    start = darts_cell([("skip_connect", 0), ("sep_conv_3x3", 1)] * 4)
    recipe = SearchConfig(channels=2, cells=2, images=80, batch_size=20)
    config = ProxyConfig(cells=cells)
    with pytest.raises(ParamsError, match=f"^{message}"):
        run_local_search([start], {}, space, recipe, config, digits[0], digits[2], 0)
