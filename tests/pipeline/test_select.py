"""Stage `select`: the best seed's cell becomes the genotype, and every seed's evidence is kept."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from midas.genotype import Genotype, load_genotype
from midas.io import files
from midas.io.errors import MidasError
from midas.zoo.registry import ZOO
from pipeline import paths, select

ROOT = Path(__file__).parents[2]
CELLS = {name: Genotype.from_value(ZOO[name]["genotype"]) for name in ("darts_v1", "darts_v2")}


@pytest.fixture(autouse=True)
def clone(digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data and the parameters of three seeds."""
    shutil.copytree(digits_folder, tmp_path / paths.DATA)
    for room in ("data", "decode", "proxy", "search", "spaces"):
        (tmp_path / "midas" / room).mkdir(parents=True)
    params = yaml.safe_load((ROOT / "presets/quickstart.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**params, "seeds": [2, 0, 1]}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_evidence(seed: int, score: float, cell: str = "darts_v2") -> None:
    """What `decode` writes of a seed, as far as `select` reads it."""
    edges = {kind: [list(e) for e in cell.edges] for kind, cell in CELLS[cell].cells.items()}
    value = {
        "seed": seed,
        "score": score,
        "score_of": "sub-network accuracy",
        "subnetwork_accuracy": score,
        "supernet_accuracy": 0.9,
        "discretisation_gap": 0.1,
        "skips": 3,
        "margin": 0.05,
        "steps": 40,
        "genotype": edges,
        "distributions": {"normal": "of this seed"},
    }
    files.write_json(paths.decoded(seed), value)


def read(name: str) -> Any:
    return json.loads((paths.GENOTYPE / name).read_text(encoding="utf-8"))


def test_the_cell_of_the_best_score_is_kept_with_the_evidence_of_all() -> None:
    write_evidence(0, 0.2)
    write_evidence(1, 0.4, "darts_v1")
    write_evidence(2, 0.3)
    summary = select.command()
    assert load_genotype(paths.GENOTYPE / "genotype.json") == CELLS["darts_v1"]
    selected = read("select.json")
    assert selected["kept_seed"] == 1
    assert [entry["seed"] for entry in selected["seeds"]] == [0, 1, 2]
    assert [entry["kept"] for entry in selected["seeds"]] == [False, True, False]
    assert all(entry["distributions"] for entry in selected["seeds"])
    assert read("metrics.json")["subnetwork_accuracy"] == 0.4
    assert read("provenance.json")["kept_seed"] == 1
    assert list(summary.columns) == ["seed 0", "seed 1", "seed 2"]
    assert summary.columns["seed 1"]["kept"] == "yes"


def test_of_equal_scores_the_lowest_seed_is_kept() -> None:
    for seed in (0, 1, 2):
        write_evidence(seed, 0.4)
    select.command()
    assert read("select.json")["kept_seed"] == 0
    assert read("metrics.json")["agreement"] == 1.0


def test_tables_have_a_row_for_each_seed_and_each_operation() -> None:
    for seed in (0, 1, 2):
        write_evidence(seed, 0.1 * seed)
    select.command()
    with (paths.GENOTYPE / "seeds.csv").open(encoding="utf-8") as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["seed 0", "seed 1", "seed 2"]
    with (paths.GENOTYPE / "operations.csv").open(encoding="utf-8") as file:
        counts = {row["operation"]: int(row["count"]) for row in csv.DictReader(file)}
    assert sum(counts.values()) == 16, "eight edges in each of two cells"


def test_a_seed_that_was_not_decoded_is_named() -> None:
    write_evidence(0, 0.2)
    write_evidence(1, 0.3)
    with pytest.raises(MidasError, match=r"seed-2/decode\.json: .* run `dvc repro decode@2` first"):
        select.command()
    files.write_json(paths.decoded(2), {"seed": 2})  # as where search.genotype named a cell
    with pytest.raises(MidasError, match=r"seed-2/decode\.json: holds no decoded cell"):
        select.command()
    assert not paths.GENOTYPE.exists(), "nothing is written before all seeds are read"
