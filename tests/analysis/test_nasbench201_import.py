"""The small table is made from a file that the official package's own classes have written."""

from pathlib import Path

import pytest

from midas.analysis.nasbench201 import import_table, load_table
from midas.genotype import Genotype
from midas.io.errors import MidasError

api_utils = pytest.importorskip(
    "nats_bench.api_utils", reason="the extra nasbench is not installed"
)
ARCHITECTURES = [
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
    "+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|",
]
SETS = {  # official data set: its evaluation sets
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
}


def official_file(folder: Path) -> Path:
    """Two cells, two trials each; every accuracy tells its cell, data set, set and trial."""
    infos = {}
    for i, arch in enumerate(ARCHITECTURES):
        results = api_utils.ArchResults(i, arch)
        for d, (data, sets) in enumerate(SETS.items()):
            for seed in (777, 888):
                accuracies = dict.fromkeys(range(200), 50.0 + 10 * i + d + seed / 1000)
                zeros = dict.fromkeys(range(200), 0.0)
                count = api_utils.ResultsCount(
                    data, None, accuracies, zeros, 1.0, 1.0, {"arch_str": arch}, seed, 200, None
                )
                count.update_train_info(accuracies, accuracies, zeros, zeros)
                for k, name in enumerate(sets):
                    values = {f"{name}@{e}": v + 5 * k for e, v in accuracies.items()}
                    nothing = {f"{name}@{e}": 0.0 for e in range(200)}
                    count.update_eval(values, nothing, nothing)
                results.update(data, seed, count)
        infos[i] = {"200": results.state_dict()}
    whole = {"meta_archs": ARCHITECTURES, "arch2infos": infos, "evaluated_indexes": [0, 1]}
    api_utils.pickle_save(whole, folder / "NATS-tss-v1_0-test.pickle")
    return folder / "NATS-tss-v1_0-test.pickle.pbz2"


def test_the_mean_over_trials_of_every_data_set_the_file_has(tmp_path: Path) -> None:
    columns = import_table(official_file(tmp_path), tmp_path / "small.csv.gz")
    assert columns == ["cifar10_valid", "cifar10_test", "cifar100_valid", "cifar100_test"]
    table = load_table(tmp_path / "small.csv.gz")
    judged = {j.column: j.accuracy for j in table.judge(Genotype.from_arch(ARCHITECTURES[1]))}
    trial = (0.777 + 0.888) / 2
    expected = {
        "cifar10_valid": 60.0,
        "cifar10_test": 61.0,
        "cifar100_valid": 62.0,
        "cifar100_test": 67.0,
    }
    assert judged == pytest.approx(
        {name: value + trial for name, value in expected.items()}, abs=1e-3
    )


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pickle.pbz2").write_bytes(b"no pickle")
    with pytest.raises(MidasError, match="cannot be read as a NATS-Bench topology file"):
        import_table(tmp_path / "x.pickle.pbz2", tmp_path / "out.csv.gz")
    with pytest.raises(MidasError, match="there is no such file"):
        import_table(tmp_path / "none", tmp_path / "out.csv.gz")
    assert not (tmp_path / "out.csv.gz").exists()
