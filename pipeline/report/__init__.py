"""Stage `report`: one HTML page about a finished pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import paths
from pipeline.summary_table import Fact, Summary


def command(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file to write.")] = None,
) -> None:
    """Write report/index.html."""
    from midas.drawing.svg import draw_svg
    from midas.genotype import load_genotype
    from midas.io import files
    from pipeline import console, params
    from pipeline.report.page import render_report, stage_runs

    page = render_report(Path(), params.read(), stage_runs())
    genotype = load_genotype(paths.GENOTYPE / "genotype.json")
    files.write_text(paths.REPORT / "cells.svg", draw_svg(genotype))
    path = out or paths.REPORT / "index.html"
    files.write_text(path, page)
    size = Fact(len(page.encode()) / 1e6, ".2f", " MB")
    console.show(Summary("report", {path.name: {"size": size}}, path))
