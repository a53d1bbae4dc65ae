"""The bilevel search on real digits: resumable to the bit, honest about divergence, and a search indeed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from midas.data.augment import AugmentConfig
from midas.data.prepared import DataMeta, Split
from midas.runs import seeding
from midas.runs.checkpoint import Checkpoint
from midas.runs.errors import MidasError, ParamsError, TrainingDiverged
from midas.search.bilevel import SearchResult, run_search
from midas.search.config import DecodeConfig, RefineConfig, SearchConfig
from midas.search.selection import decode_seed, decoded_cells, select
from midas.search.store import load_search, save_search
from midas.spaces import get_space

Data = tuple[Split, Split, DataMeta]
TINY = SearchConfig(
    channels=2, cells=3, epochs=3, images=128, batch_size=16, augment=AugmentConfig(pad=1), monitor_images=32
)


class Killed(Exception):
    """Stands for the process's end."""


class DyingCheckpoint(Checkpoint):
    """A checkpoint whose process dies after some saves."""

    def __init__(self, folder: Path, saves: int) -> None:
        super().__init__(folder, "same")
        self.saves = saves

    def save(self, state) -> None:
        super().save(state)
        self.saves -= 1
        if self.saves == 0:
            raise Killed


def weights(result: SearchResult) -> list[torch.Tensor]:
    return [*result.supernet.state_dict().values(), *result.arm.state_dict().values()]


@pytest.mark.parametrize(
    ("space", "arm", "options"),
    [
        pytest.param("darts", "midas", {}, marks=pytest.mark.slow),
        ("rdarts-s4", "midas", {}),
        ("nasbench201", "darts", {"cells": 1, "second_order": True}),
        pytest.param("rdarts-s2", "darts", {"second_order": True}, marks=pytest.mark.slow),
        ("nasbench201", "drnas", {"cells": 1}),
        ("nasbench201", "gdas", {"cells": 1}),
        ("rdarts-s2", "beta-darts", {"partial": 2}),
        ("darts", "random", {}),
    ],
)
def test_a_killed_search_goes_on_to_the_same_bits(
    space: str, arm: str, options: dict[str, Any], digits: Data, tmp_path: Path
) -> None:
    config = TINY.model_copy(update={"arm": arm, **options})
    train, _, meta = digits
    whole = run_search(get_space(space), config, train, meta, seed=3)
    for saves in (1, 1):
        with pytest.raises(Killed):
            run_search(get_space(space), config, train, meta, seed=3, checkpoint=DyingCheckpoint(tmp_path, saves))
    resumed = run_search(get_space(space), config, train, meta, seed=3, checkpoint=Checkpoint(tmp_path, "same"))
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))
    assert whole.history == resumed.history


def test_a_stack_without_normal_cells_is_refused(digits: Data) -> None:
    train, _, meta = digits
    with pytest.raises(ParamsError, match=r"search\.cells: 2 .* no normal cell"):
        run_search(get_space("darts"), TINY.model_copy(update={"cells": 2}), train, meta, seed=0)


def test_another_fingerprint_starts_afresh(tmp_path: Path) -> None:
    Checkpoint(tmp_path, "old").save({"history": []})
    assert Checkpoint(tmp_path, "new").load() is None
    assert Checkpoint(tmp_path, "old").load() == {"history": []}


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "p")
    checkpoint.save({"x": torch.ones(3)})
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:100])
    assert checkpoint.load() is None


def test_a_loss_that_is_no_number_stops_the_search_and_keeps_the_last_good_epoch(digits: Data, tmp_path: Path) -> None:
    train, _, meta = digits
    checkpoint = Checkpoint(tmp_path, "p")
    run_search(get_space("darts"), TINY.model_copy(update={"epochs": 1}), train, meta, seed=0, checkpoint=checkpoint)
    good = checkpoint.path.read_bytes()
    broken = TINY.model_copy(update={"learning_rate": 1e30, "clip": 1e30})
    with pytest.raises(TrainingDiverged, match=r"epoch 2, step \d+"):
        run_search(get_space("darts"), broken, train, meta, seed=0, checkpoint=checkpoint)
    assert checkpoint.path.read_bytes() == good


def test_a_finished_search_is_read_back_and_a_foreign_one_refused(digits: Data, tmp_path: Path) -> None:
    train, _, meta = digits
    result = run_search(get_space("darts"), TINY.model_copy(update={"epochs": 1}), train, meta, seed=0)
    save_search(tmp_path / "s.safetensors", result)
    again = load_search(tmp_path / "s.safetensors", get_space("darts"), TINY, 10)
    same = zip(weights(result), [*again[0].state_dict().values(), *again[1].state_dict().values()], strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    with pytest.raises(MidasError, match="does not hold this search"):
        load_search(tmp_path / "s.safetensors", get_space("rdarts-s2"), TINY, 10)
    with pytest.raises(MidasError, match="run the search stage"):
        load_search(tmp_path / "none.safetensors", get_space("darts"), TINY, 10)


def test_the_seed_kept_has_the_best_subnetwork_and_all_seeds_are_written_down(digits: Data) -> None:
    train, _, meta = digits
    space, how, config = (
        get_space("rdarts-s4"),
        DecodeConfig(samples=64, batch_size=32),
        TINY,
    )
    decoded = []
    for seed in (0, 1):
        result = run_search(space, config, train, meta, seed)
        decoded.append(decode_seed(seed, space, result.supernet, result.arm, config, how, train, meta))
    chosen, evidence = select(decoded, space.without(config.exclude), how)
    assert chosen.subnetwork_accuracy == max(d.subnetwork_accuracy for d in decoded)
    assert [entry["seed"] for entry in evidence["seeds"]] == [0, 1]
    assert evidence["samples"] == 64
    first = evidence["seeds"][0]["distributions"]["normal"][1]
    assert sum(first["edges"][0]["operations"].values()) == pytest.approx(1, abs=1e-5)
    assert sum(pair["probability"] for pair in first["pairs"]) == pytest.approx(1, abs=1e-5)


def test_with_finals_the_seed_of_the_lowest_final_loss_is_kept_and_all_trainings_are_told(
    digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, _, meta = digits
    space = get_space("nasbench201")
    config = SearchConfig(channels=2, cells=1, epochs=1, images=64, batch_size=16)
    how = DecodeConfig(samples=16, refine=RefineConfig(trainings=2, epochs=1, finalists=2, final_epochs=3))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # short trainings in this process
    decoded = []
    for seed in (0, 1):
        result = run_search(space, config, train, meta, seed)
        decoded.append(decode_seed(seed, space, result.supernet, result.arm, config, how, train, meta))
    chosen, evidence = select(decoded, space.without(config.exclude), how)
    for one, entry in zip(decoded, evidence["seeds"], strict=True):
        told = entry["short_trainings"]
        finals = [row for row in told if row["final"] and not row["kept"]]
        assert [len(told), len(finals)] == [19 + 2 + 2 + 1, 2]
        assert one.judged == -min(one.loss for one in one.trainings if one.final)
        assert told[-1] == {**min(finals, key=lambda row: row["loss"]), "kept": True}
        assert one.genotype == one.trainings[-1].genotype
        assert "loss in the finals" in entry["reason"]
    assert chosen.judged == max(one.judged for one in decoded)
    assert decoded_cells(evidence, space) == {one.seed: one.genotype for one in decoded}


def planted(digits: Data, seed: int, shuffled: bool, epochs: int = 20) -> list[str]:
    """The decoded operations of a MIDAS search in which every edge offers a convolution or noise."""
    train, _, meta = digits
    if shuffled:
        order = torch.randperm(len(train), generator=seeding.generator(seed, "shuffled labels"))
        train = Split(train.images, train.labels[order])
    config = SearchConfig(
        exclude=[], channels=8, cells=3, epochs=epochs, batch_size=64, learning_rate=0.05, augment=AugmentConfig(pad=1)
    )
    space = get_space("rdarts-s4")
    result = run_search(space, config, train, meta, seed)
    decoded = decode_seed(seed, space, result.supernet, result.arm, config, DecodeConfig(samples=512), train, meta)
    return [edge.op for cell in decoded.genotype.cells.values() for edge in cell.edges]


def test_the_planted_convolution_is_found_on_every_kept_edge(digits: Data) -> None:
    assert planted(digits, seed=0, shuffled=False, epochs=10) == ["sep_conv_3x3"] * 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_planted_convolution_is_found_by_every_seed(seed: int, digits: Data) -> None:
    assert planted(digits, seed, shuffled=False) == ["sep_conv_3x3"] * 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_with_shuffled_labels_nothing_is_found(seed: int, digits: Data) -> None:
    assert planted(digits, seed, shuffled=True) != ["sep_conv_3x3"] * 16
