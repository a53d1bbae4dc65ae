"""The pipeline as a user runs it: a folder of images goes in, a verified model folder comes out, nothing is done twice."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from clones import run

from midas.genotype import load_genotype
from midas.nets.card import read_provenance
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
pytestmark = pytest.mark.xdist_group("clone")


def started(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def changed(clone: Path) -> set[str]:
    """The stages that `dvc status` lists, without their items."""
    return {name.partition("@")[0] for name in json.loads(run(clone, "dvc", "status", "--json").stdout)}


def test_a_folder_of_mixed_images_goes_through_all_stages(finished: Path) -> None:
    folder = finished / "models/mine"
    assert {p.name for p in folder.iterdir()} - {"latency.json"} == set(MODEL)
    genotype = load_genotype(folder / "genotype.json")
    get_space("darts").check(genotype)
    metrics = json.loads((finished / "artifacts/evaluate/mine/metrics.json").read_text())
    assert metrics["class_agreement"] == 1
    assert metrics["accuracy_onnx"] == metrics["accuracy_torch"]
    assert metrics["relative_difference"] <= 1e-4


def test_of_two_training_seeds_the_better_by_validation_is_built_and_both_are_told(finished: Path) -> None:
    folders = [finished / f"artifacts/train/mine/seed-{seed}" for seed in (0, 1)]
    trained = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    built = json.loads((finished / "artifacts/build/mine/metrics.json").read_text())
    accuracies = [metrics["best_val_accuracy"] for metrics in trained]
    assert [metrics["seed"] for metrics in trained] == [0, 1]
    assert len({(folder / "last.safetensors").read_bytes() for folder in folders}) == 2
    assert built["kept_seed"] == accuracies.index(max(accuracies))
    assert built["best_val_accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2, abs=1e-6)
    told = read_provenance(finished / "models/mine/README.md")["training"]
    assert (told["seeds"], told["kept_seed"]) == ([0, 1], built["kept_seed"])


def test_the_model_folder_loads_in_timm_with_the_evaluated_accuracy(finished: Path) -> None:
    code = """
import json, sys, torch, timm, midas
from midas.data.augment import normalise
from midas.data.prepared import load_meta, load_split
from pathlib import Path
model = timm.create_model("local-dir:models/mine", pretrained=True).eval()
split, meta = load_split(Path("artifacts/data/test.safetensors")), load_meta(Path("artifacts/data/meta.json"))
with torch.inference_mode():
    right = (model(normalise(split.images, meta.mean, meta.std)).argmax(1) == split.labels).float().mean().item()
print(right)
"""
    accuracy = float(run(finished, sys.executable, "-c", code).stdout)
    told = json.loads((finished / "artifacts/evaluate/mine/metrics.json").read_text())["accuracy_torch"]
    assert accuracy == pytest.approx(told, abs=1e-6)


def test_predict_reads_the_users_own_files(finished: Path) -> None:
    image = next(Path(json.loads(_root(finished))).glob("across/*.jpg"))
    out = run(finished, "midas", "predict", "models/mine/model.onnx", str(image), "--json").stdout
    assert str(image) in out.splitlines()[0]
    assert json.loads(out.splitlines()[0])


def _root(clone: Path) -> str:
    line = next(line for line in (clone / "params.yaml").read_text().splitlines() if "root:" in line)
    return json.dumps(line.partition(":")[2].strip())


def test_a_second_run_starts_no_stage_and_git_is_left_clean(finished: Path) -> None:
    assert started(run(finished, "dvc", "repro").stdout) == []
    assert run(finished, "git", "status", "--porcelain").stdout.split() in ([], ["??", "dvc.lock"])


def test_deleted_models_come_back_from_the_cache(finished: Path) -> None:
    shutil.rmtree(finished / "models/mine")
    assert started(run(finished, "dvc", "repro").stdout) == []
    assert set(MODEL) <= {p.name for p in (finished / "models/mine").iterdir()}


def test_metrics_and_plots_are_shown_by_dvc(finished: Path) -> None:
    shown = json.loads(run(finished, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert {"artifacts/genotype/metrics.json", "artifacts/build/mine/metrics.json", "models/mine/parity.json"} <= set(
        shown
    )
    plots = run(finished, "dvc", "plots", "show", "--json").stdout
    assert "history.csv" in plots
    assert "predictions.csv" in plots


def test_a_change_of_the_search_lists_searches_and_never_a_training(finished: Path) -> None:
    path = finished / "midas/search/topology.py"
    original = path.read_bytes()
    try:
        path.write_bytes(original + b"# a change\n")
        assert {"search", "decode"} <= changed(finished)
        assert "train" not in changed(finished)
    finally:
        path.write_bytes(original)


def test_a_change_of_the_networks_lists_the_trainings_and_no_search(finished: Path) -> None:
    path = finished / "midas/nets/cells.py"
    original = path.read_bytes()
    try:
        path.write_bytes(original + b"# a change\n")
        assert "train" in changed(finished)
        assert "search" not in changed(finished)
    finally:
        path.write_bytes(original)


def test_a_clone_of_a_pushed_project_has_working_models_without_running_a_stage(finished: Path, tmp_path: Path) -> None:
    from clones import IDENTITY

    run(finished, "dvc", "remote", "add", "--force", "--default", "store", str(tmp_path / "store"))
    run(finished, "git", "add", "-A")
    run(finished, "git", *IDENTITY, "commit", "-qm", "found")
    run(finished, "dvc", "push")
    other = tmp_path / "other"
    run(finished, "git", "clone", "-q", str(finished), str(other))
    run(other, "dvc", "pull")
    code = "import midas, timm, torch; m = timm.create_model('local-dir:models/mine', pretrained=True).eval(); "
    code += "print(tuple(m(torch.zeros(2, 3, 16, 16)).shape))"
    assert run(other, sys.executable, "-c", code).stdout.strip() == "(2, 3)"
    image = next(Path(json.loads(_root(finished))).glob("down/*.jpg"))
    assert run(other, sys.executable, "models/mine/predict.py", str(image)).returncode == 0


def test_a_broken_image_stops_before_the_training_and_is_named(finished: Path, tmp_path: Path) -> None:
    images = Path(json.loads(_root(finished)))
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
