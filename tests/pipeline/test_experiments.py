"""Experiments by `dvc exp run -S`: another arm, another space, compared by `dvc exp show`."""

import csv
import io
from pathlib import Path

import pytest
from clones import IDENTITY, draw_images, edit, make_clone, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("experiments"), pytest.mark.timeout(1800)]


def test_arms_and_spaces_are_compared_by_parameters_alone(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    run(clone, "midas", "init", "folder")
    edit(clone / "params.yaml", root=str(draw_images(tmp_path / "images", 90)), image_size="8")
    edit(clone / "params.yaml", epochs="1", channels="4", cells="3", start_size="null", seeds="[0]")
    run(clone, "dvc", "repro")
    run(clone, "git", "add", "dvc.lock")
    run(clone, "git", *IDENTITY, "commit", "-qam", "my images")
    run(clone, "dvc", "exp", "run", "--name", "static", "-S", "search.arm=darts")
    run(clone, "dvc", "exp", "run", "--name", "static-nb201", "-S", "search.arm=darts", "-S", "space=nasbench201")
    table = run(clone, "dvc", "exp", "show", "--csv").stdout
    rows = {row["Experiment"] or row["rev"]: row for row in csv.DictReader(io.StringIO(table))}
    assert (rows["static"]["search.arm"], rows["static"]["space"]) == ("darts", "darts")
    assert (rows["static-nb201"]["search.arm"], rows["static-nb201"]["space"]) == ("darts", "nasbench201")
    assert rows["workspace"]["search.arm"] == "darts"  # the last experiment's parameters are left in the work tree
    column = next(
        name for name in rows["static"] if name.endswith("accuracy_onnx")
    )  # with its file where that is needed
    accuracies = {name: row[column] for name, row in rows.items()}
    assert all(0 <= float(accuracies[name]) <= 1 for name in ("static", "static-nb201"))
    run(clone, "dvc", "plots", "diff", "static", "static-nb201", "--json")
