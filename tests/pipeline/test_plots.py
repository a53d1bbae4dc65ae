"""DVC's plots have titles and named axes, and a local Vega draws the output of `dvc plots show`."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from clones import run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("clone")


def declared() -> dict[str, dict[str, Any]]:
    """Every plot that dvc.yaml declares, by its name or its file."""
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    groups = [
        definition["plots"],
        *(stage.get("plots", []) for stage in definition["stages"].values()),
    ]
    return {name: values for group in groups for entry in group for name, values in entry.items()}


@pytest.mark.parametrize("name", declared())
def test_a_plot_has_a_title_and_named_axes(name: str) -> None:
    assert {"title", "x", "y", "x_label", "y_label"} <= set(declared()[name])


def test_curves_confusion_seeds_and_patches_are_declared() -> None:
    names = " ".join(declared())
    assert all(
        part in names for part in ("search/seed", "train/", "predictions.csv", "seeds", "patches")
    )


def test_every_plot_of_a_finished_pipeline_is_drawn_with_marks(
    finished: Path,
) -> None:
    vl_convert = pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    shown = json.loads(run(finished, "dvc", "plots", "show", "--json").stdout)["data"]
    assert len(shown) >= 7
    for name, (plot, *_) in shown.items():
        spec = plot["content"]
        for axis in ("x", "y"):
            encoding = _encoding(spec, axis)
            if encoding.get("type") == "quantitative":
                for row in spec["data"]["values"]:
                    float(row[encoding["field"]])
        picture = vl_convert.vegalite_to_svg(spec)
        assert "mark-" in picture, name
        assert declared_title(name, picture), name


def test_the_tutorials_code_draws_every_plot_of_two_experiments_without_a_network(
    finished: Path,
) -> None:
    pytest.importorskip("vl_convert", reason="vl-convert is not installed")
    page = (ROOT / "docs/tutorials/compare-searches.md").read_text(encoding="utf-8")
    code = page.partition('```python title="Draw the plots"\n')[2].partition("```")[0]
    run(finished, sys.executable, "-c", code.replace('"darts"', '"HEAD"'))
    drawn = sorted(finished.glob("plot-*.svg"))
    try:
        assert len(drawn) >= 7
        assert all("mark-" in path.read_text(encoding="utf-8") for path in drawn)
    finally:
        for path in drawn:
            path.unlink()


def declared_title(name: str, picture: str) -> bool:
    """Whether the picture has a declared title, up to the part that differs by seed and target."""
    titles = [values["title"].split("${")[0].split(",")[0] for values in declared().values()]
    return any(title in picture for title in titles)


def _encoding(spec: dict[str, Any], axis: str) -> dict[str, Any]:
    """The encoding of an axis, in the first of several layers."""
    encoding: dict[str, Any] = {}
    for part in (
        spec,
        *spec.get("layer", []),
        spec.get("spec", {}),
        *spec.get("spec", {}).get("layer", []),
    ):
        encoding = encoding or part.get("encoding", {}).get(axis, {})
    return encoding
