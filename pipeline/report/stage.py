"""Stage `report`: one page about what the pipeline wrote, or a comparison of experiments."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import paths
from pipeline.summary_table import Fact, Summary


def command(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="REV", help="With --compare: commits, branches or experiments."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare experiments: --compare REV REV...")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file to write.")] = None,
) -> None:
    """Write report/index.html, or compare experiments."""
    if compare != bool(revisions):
        raise typer.BadParameter("give revisions together with --compare, or neither")
    from midas.drawing.svg import draw_svg
    from midas.genotype import load_genotype
    from midas.io import files
    from pipeline import console, params
    from pipeline.report.page import render_report, stage_runs

    path = out or paths.REPORT / ("comparison.html" if compare else "index.html")
    if revisions:
        from pipeline.report import comparison  # only here: DVC takes long to import

        page = comparison.compare(revisions)
    else:
        page = render_report(Path(), params.read(), stage_runs())
        genotype = load_genotype(paths.GENOTYPE / "genotype.json")
        files.write_text(paths.REPORT / "cells.svg", draw_svg(genotype))
    files.write_text(path, page)
    size = Fact(len(page.encode()) / 1e6, ".2f", " MB")
    console.show(Summary("report", {path.name: {"size": size}}, path))
