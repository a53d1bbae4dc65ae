"""A published cell is trained on other images by one parameter, and nothing is searched."""

import json
from pathlib import Path

import pytest
from clones import IDENTITY, draw_images, edit, make_clone, run
from pages import Page, looked_up

from midas.genotype import Genotype, load_genotype, save_genotype
from midas.zoo.registry import ZOO

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fixed"), pytest.mark.timeout(1800)]


def test_a_published_cell_is_trained_on_own_images_by_one_parameter(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    cell = Genotype.from_value(ZOO["darts_v2"]["genotype"])
    save_genotype(clone / "cell.json", cell)
    run(clone, "midas", "init", "folder")
    edit(
        clone / "params.yaml",
        root=str(draw_images(tmp_path / "images", 90)),
        image_size="8",
        method="midas\n  genotype: cell.json",
    )
    edit(clone / "params.yaml", epochs="1", channels="4", cells="3", start_size="null")
    run(clone, "git", "add", "-A")
    run(clone, "git", *IDENTITY, "commit", "-qm", "a cell of others")
    output = run(clone, "dvc", "repro").stdout
    assert output.count("nothing: search.genotype names a cell") == 4, "two searches, two decodings"
    assert load_genotype(clone / "models/mine/genotype.json") == cell
    assert (
        json.loads((clone / "artifacts/evaluate/mine/metrics.json").read_text())["class_agreement"]
        == 1
    )
    page = Page((clone / "report/index.html").read_text())
    assert "given by the parameter" in " ".join(page.words)
    assert len(page.numbers) > 20
    for number in page.numbers:
        assert float(number.attributes["value"]) == looked_up(clone, number.attributes)
    assert "ONNX" in run(clone, "midas", "summary").stdout
    shown = json.loads(run(clone, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert shown["artifacts/genotype/metrics.json"]["data"]["steps"] == 0
    assert "predictions.csv" in run(clone, "dvc", "plots", "show", "--json").stdout
