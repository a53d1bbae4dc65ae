"""A model of timm goes through the stages without a search, beside the found network."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from clones import draw_images, edit, make_clone, run

from midas.io.errors import ExportError, ParamsError
from pipeline import check, targets


def test_a_name_stands_in_one_section_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"targets": {"a": {}, "b": {}}, "timm_targets": {"c": {"model": "resnet18"}}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert targets.sections() == {"a": "targets", "b": "targets", "c": "timm_targets"}
    assert targets.config("c").model_dump()["model"] == "resnet18"
    assert "cells" not in targets.config("c").model_dump()
    content["timm_targets"]["b"] = {"model": "resnet18"}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=r"timm_targets\.b: another section has it; rename one"):
        targets.sections()


@pytest.mark.parametrize(
    ("section", "keys", "message"),
    [
        ("targets", {"start_from": "a.pth"}, "start_from: is called weights now"),
        ("targets", {"model": "resnet18"}, "stands in the section timm_targets"),
        ("timm_targets", {}, r"timm_targets\.a\.model: .* Field required"),
        ("timm_targets", {"model": "resnet18", "channels": 8}, "channels is for the found cell"),
        ("timm_targets", {"model": "resnet18", "width": 8}, "unknown key"),
    ],
)
def test_a_wrong_key_is_answered_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    keys: dict[str, object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"targets": {}, section: {"a": keys}}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=message) as raised:
        check.check_params(images_prepared=False)
    assert "\n" not in str(raised.value)


def test_a_model_that_cannot_be_used_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    meta = tmp_path / "artifacts/data/meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"counts": {"train": 1000}, "size": 32}))

    def check_model(name: str) -> None:
        content = {"targets": {}, "timm_targets": {"a": {"model": name}}}
        Path("params.yaml").write_text(yaml.safe_dump(content))
        check.check_params(images_prepared=True)

    with pytest.raises(ParamsError, match=r"nearest names are resnet"):
        check_model("resnet19")
    with pytest.raises(
        ExportError, match=r"a: inception_v3 cannot .* 32 pixels \(.*; take another"
    ):
        check_model("inception_v3")
    check_model("test_resnet")
    tried = (tmp_path / "artifacts/plans/a.exported").stat().st_mtime_ns
    check_model("test_resnet")
    assert (tmp_path / "artifacts/plans/a.exported").stat().st_mtime_ns == tried, "once is enough"
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(ExportError, match=r"a: test_vit cannot .* at 32 pixels \(no\); take"):
        check_model("test_vit")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_model_of_timm_is_trained_tested_and_shown_without_a_search(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    run(clone, "midas", "init", "folder")
    edit(clone / "params.yaml", root=str(draw_images(tmp_path / "images", 90)), image_size="32")
    path = clone / "params.yaml"
    content = yaml.safe_load(path.read_text())
    content["seeds"] = [0]
    content["search"] |= {"epochs": 1, "channels": 4, "image_size": 8}
    few = {"epochs": 1, "batch_size": 16, "augment": {"flip": True}}
    content["targets"] = {}
    content["timm_targets"] = {"small": {"model": "test_resnet", **few}}
    content["teacher"] = "models/small"
    found = {"channels": 4, "cells": 3, "auxiliary_weight": 0.0}
    content["taught_targets"] = {"taught": {**found, **few}}
    path.write_text(yaml.safe_dump(content))
    output = run(clone, "dvc", "repro", "evaluate-timm@small").stdout
    assert "search@0" not in output
    tested = json.loads((clone / "artifacts/evaluate/small/metrics.json").read_text())
    assert tested["class_agreement"] == 1
    assert (clone / "artifacts/cost/train@small-0.json").is_file()
    output = run(clone, "dvc", "repro").stdout
    assert "train-taught@taught-0" in output
    assert "train-timm" not in output.replace("'train-timm@small-0' didn't change", "")
    card = (clone / "models/taught/README.md").read_text()
    assert "from scratch and from the answers of the model `small`" in card
    summary = run(clone, "midas", "summary").stdout
    assert "small" in summary
    assert "taught" in summary
    page = (clone / "report/index.html").read_text()
    assert "train-timm@small-0" in page
    assert "train-taught@taught-0" in page
