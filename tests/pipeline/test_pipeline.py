"""A folder of images goes in, a verified model folder comes out, and nothing is done twice."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from clones import IDENTITY, run

from midas.genotype import load_genotype
from midas.spaces import get_space

MODEL = (
    "README.md",
    "config.json",
    "genotype.json",
    "model.onnx",
    "model.safetensors",
    "parity.json",
    "predict.py",
    "variants",
)
METRICS = ["artifacts/evaluate/mine/metrics.json", "artifacts/genotype/metrics.json"]
pytestmark = pytest.mark.xdist_group("clone")


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def changed_stages(clone: Path) -> set[str]:
    """The stages that `dvc status` lists, without their items."""
    status = json.loads(run(clone, "dvc", "status", "--json").stdout)
    return {name.partition("@")[0] for name in status}


def read(clone: Path, file: str) -> Any:
    return json.loads((clone / file).read_text(encoding="utf-8"))


def image_folder(clone: Path) -> Path:
    """What `data.root` says."""
    return Path(yaml.safe_load((clone / "params.yaml").read_text())["data"]["root"])


@contextmanager
def a_line_added(*paths: Path) -> Iterator[None]:
    """The files with a comment at their end, for as long as this is open."""
    originals = {path: path.read_bytes() for path in paths}
    try:
        for path, text in originals.items():
            path.write_bytes(text + b"# a change\n")
        yield
    finally:
        for path, text in originals.items():
            path.write_bytes(text)


def test_a_folder_of_mixed_images_goes_through_all_stages(finished: Path) -> None:
    folder = finished / "models/mine"
    assert {p.name for p in folder.iterdir()} - {"latency.json"} == set(MODEL)
    genotype = load_genotype(folder / "genotype.json")
    get_space("darts").check(genotype)
    details = read(finished, "artifacts/evaluate/mine/details.json")
    assert details["class_agreement"] == 1
    assert details["accuracy_onnx"] == details["accuracy_torch"]
    assert details["relative_difference"] <= 1e-4


def test_the_metrics_of_the_test_are_the_few_that_people_compare(finished: Path) -> None:
    metrics = read(finished, "artifacts/evaluate/mine/metrics.json")
    details = read(finished, "artifacts/evaluate/mine/details.json")
    built = read(finished, "artifacts/build/mine/metrics.json")
    assert metrics == {
        "accuracy": details["accuracy_onnx"],
        "balanced_accuracy": details["balanced_accuracy"],
        "class_agreement": details["class_agreement"],
        "ece": details["ece"],
        "parameters": built["parameters"],
        "macs": built["macs"],
        "bytes": (finished / "models/mine/model.onnx").stat().st_size,
    }


def test_select_keeps_the_cell_that_decode_found_with_all_the_evidence(finished: Path) -> None:
    decoded = read(finished, "artifacts/decode/seed-0/decode.json")
    selected = read(finished, "artifacts/genotype/select.json")
    assert selected["kept_seed"] == 0
    (entry,) = selected["seeds"]
    assert entry["kept"] is True
    assert {key: entry[key] for key in decoded} == decoded
    genotype = load_genotype(finished / "artifacts/genotype/genotype.json")
    edges = {kind: [list(e) for e in cell.edges] for kind, cell in genotype.cells.items()}
    assert edges == decoded["genotype"]
    metrics = read(finished, "artifacts/genotype/metrics.json")
    assert metrics == {
        "agreement": 1.0,
        "steps": decoded["steps"],
        "subnetwork_accuracy": decoded["subnetwork_accuracy"],
        "skips": decoded["skips"],
        "margin": decoded["margin"],
    }


def test_of_two_training_seeds_the_better_by_validation_is_built_and_both_are_named(
    finished: Path,
) -> None:
    folders = [finished / f"artifacts/train/mine/seed-{seed}" for seed in (0, 1)]
    trained = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    built = read(finished, "artifacts/build/mine/metrics.json")
    accuracies = [metrics["best_val_accuracy"] for metrics in trained]
    assert [metrics["seed"] for metrics in trained] == [0, 1]
    assert len({(folder / "last.safetensors").read_bytes() for folder in folders}) == 2
    assert built["kept_seed"] == accuracies.index(max(accuracies))
    assert built["best_val_accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2, abs=1e-6)
    card = (finished / "models/mine/README.md").read_text(encoding="utf-8")
    training = json.loads(card.rpartition("```json")[2].rpartition("```")[0])["training"]
    assert (training["seeds"], training["kept_seed"]) == ([0, 1], built["kept_seed"])


def test_the_model_folder_loads_in_timm_with_the_evaluated_accuracy(finished: Path) -> None:
    code = """
from pathlib import Path
import midas, timm, torch
from midas.data.augment import normalise
from midas.data.prepared import load_meta, load_split
model = timm.create_model("local-dir:models/mine", pretrained=True).eval()
split = load_split(Path("artifacts/data/test.safetensors"))
meta = load_meta(Path("artifacts/data/meta.json"))
with torch.inference_mode():
    logits = model(normalise(split.images, meta.mean, meta.std))
print((logits.argmax(1) == split.labels).float().mean().item())
"""
    accuracy = float(run(finished, sys.executable, "-c", code).stdout)
    details = read(finished, "artifacts/evaluate/mine/details.json")
    assert accuracy == pytest.approx(details["accuracy_torch"], abs=1e-6)


def test_predict_reads_the_users_own_files(finished: Path) -> None:
    image = next(image_folder(finished).glob("across/*.jpg"))
    out = run(finished, "midas", "predict", "models/mine/model.onnx", str(image), "--json").stdout
    assert str(image) in out.splitlines()[0]
    assert json.loads(out.splitlines()[0])


def test_the_summary_shows_search_and_model_and_what_to_do_next(finished: Path) -> None:
    output = run(finished, "midas", "summary").stdout
    details = read(finished, "artifacts/evaluate/mine/details.json")
    assert f"{details['accuracy_onnx']:.2%}" in output
    assert "A short search: docs/method.md says what to expect of it." in output
    assert "The report: report/index.html" in output
    assert output.splitlines()[-1] == "Try it: python models/mine/predict.py IMAGE..."


def test_a_second_run_starts_no_stage_and_git_is_left_clean(finished: Path) -> None:
    assert stages_run(run(finished, "dvc", "repro").stdout) == []
    assert run(finished, "git", "status", "--porcelain").stdout == ""


def test_deleted_models_come_back_from_the_cache(finished: Path) -> None:
    shutil.rmtree(finished / "models/mine")
    assert stages_run(run(finished, "dvc", "repro").stdout) == []
    assert set(MODEL) <= {p.name for p in (finished / "models/mine").iterdir()}


def test_metrics_and_plots_are_shown_by_dvc(finished: Path) -> None:
    shown = json.loads(run(finished, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert sorted(shown) == METRICS
    plots = run(finished, "dvc", "plots", "show", "--json").stdout
    assert "history.csv" in plots
    assert "predictions.csv" in plots


def test_a_change_of_the_search_lists_searches_and_never_a_training(finished: Path) -> None:
    with a_line_added(finished / "midas/search/edge_pairs.py"):
        assert changed_stages(finished) == {"search", "decode", "select", "analyse"}


def test_a_change_of_how_things_look_lists_no_search_and_no_training(finished: Path) -> None:
    paths = (
        "midas/drawing/svg.py",
        "midas/deploy/latency.py",
        "midas/zoo/card.py",
        "pipeline/console.py",
        "pipeline/report/page.py",
        "pipeline/run_stage.py",
    )
    with a_line_added(*(finished / path for path in paths)):
        assert changed_stages(finished) == {"build", "export", "evaluate", "report"}


def test_a_clone_of_a_pushed_project_has_working_models_without_running_a_stage(
    finished: Path, tmp_path: Path
) -> None:
    run(finished, "dvc", "remote", "add", "--force", "--default", "store", str(tmp_path / "store"))
    run(finished, "git", "add", "-A")
    run(finished, "git", *IDENTITY, "commit", "-qm", "found")
    run(finished, "dvc", "push")
    other = tmp_path / "other"
    run(finished, "git", "clone", "-q", str(finished), str(other))
    run(other, "dvc", "pull")
    code = """
import midas, timm, torch
model = timm.create_model("local-dir:models/mine", pretrained=True).eval()
print(tuple(model(torch.zeros(2, 3, 16, 16)).shape))
"""
    assert run(other, sys.executable, "-c", code).stdout.strip() == "(2, 3)"
    image = next(image_folder(finished).glob("down/*.jpg"))
    assert run(other, sys.executable, "models/mine/predict.py", str(image)).returncode == 0


def test_a_broken_image_stops_before_the_training_and_is_named(
    finished: Path, tmp_path: Path
) -> None:
    images = image_folder(finished)
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    (copy / "down" / "broken.jpg").write_bytes(b"\xff\xd8 not a jpeg")
    before = (finished / "artifacts/data/train.safetensors").read_bytes()
    original = (finished / "params.yaml").read_text()
    try:
        (finished / "params.yaml").write_text(original.replace(str(images), str(copy)))
        result = run(finished, "midas", "data", check=False)
    finally:
        (finished / "params.yaml").write_text(original)
    assert result.returncode == 1
    assert "broken.jpg" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert (finished / "artifacts/data/train.safetensors").read_bytes() == before
