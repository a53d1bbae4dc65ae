"""Experiments by `dvc exp run -S`: another method, another space, compared by `dvc exp show`."""

import csv
import io
from pathlib import Path

import pytest
from clones import IDENTITY, draw_images, edit, make_clone, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("experiments"), pytest.mark.timeout(1800)]


def test_methods_and_spaces_are_compared_by_parameters_alone(tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "clone")
    run(clone, "midas", "init", "folder")
    edit(clone / "params.yaml", root=str(draw_images(tmp_path / "images", 90)), image_size="8")
    edit(clone / "params.yaml", epochs="1", channels="4", cells="3", start_size="null", seeds="[0]")
    run(clone, "dvc", "repro")
    run(clone, "git", "add", "dvc.lock")
    run(clone, "git", *IDENTITY, "commit", "-qam", "my images")
    run(clone, "dvc", "exp", "run", "--name", "static", "-S", "search.method=darts")
    options = ("-S", "search.method=darts", "-S", "space=nasbench201")
    run(clone, "dvc", "exp", "run", "--name", "static-nb201", *options)
    table = run(clone, "dvc", "exp", "show", "--csv").stdout
    rows = {row["Experiment"] or row["rev"]: row for row in csv.DictReader(io.StringIO(table))}
    assert (rows["static"]["search.method"], rows["static"]["space"]) == ("darts", "darts")
    assert (rows["static-nb201"]["search.method"], rows["static-nb201"]["space"]) == (
        "darts",
        "nasbench201",
    )
    # the last experiment's parameters are left in the work tree
    assert rows["workspace"]["search.method"] == "darts"
    # DVC puts the file before the name where two files have it
    column = next(name for name in rows["static"] if name.split(":")[-1] == "accuracy")
    accuracies = {name: row[column] for name, row in rows.items()}
    assert all(0 <= float(accuracies[name]) <= 1 for name in ("static", "static-nb201"))
    run(clone, "dvc", "plots", "diff", "static", "static-nb201", "--json")
