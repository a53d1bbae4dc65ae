"""The report: one HTML page that shows a finished pipeline, with nothing outside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from midas.genotype import CellGenotype, Edge, Genotype, load_genotype
from midas.report import found, trained
from midas.report.drawing import draw_inline
from midas.report.sources import Sources, footnote
from midas.runs.errors import MidasError

GENOTYPE, ANALYSIS, DATA = "artifacts/genotype", "artifacts/analysis", "artifacts/data"


@dataclass(frozen=True)
class StageRun:
    """One run of a stage: its name as DVC says it, whether what stands here was made here, and its record."""

    name: str
    here: bool
    record: str


def render_report(root: Path, params: Mapping[str, Any], stages: Sequence[StageRun]) -> str:
    """The page, as HTML.

    Args:
        root: of a clone in which the pipeline has run.
        params: the content of params.yaml.
        stages: what DVC knows of the runs of the stages.

    Raises:
        MidasError: a file that the pipeline writes is missing or damaged.
    """
    sources, targets = Sources(root), list(params["targets"])
    for needed in (f"{GENOTYPE}/decode.json", f"{DATA}/meta.json"):
        if not sources.has(needed):
            raise MidasError(f"{needed}: there is no such file; run the pipeline (`dvc repro`) first")
    genotype = load_genotype(root / GENOTYPE / "genotype.json")
    seeds = seed_genotypes(sources, genotype)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=f"MIDAS report: {sources.value(f'{DATA}/meta.json', 'source')}",
            s=sources,
            params=params,
            parameters=(root / "params.yaml").read_text(encoding="utf-8"),
            stages=stages,
            genotype=genotype,
            cells=Markup(draw_inline(genotype)),
            seeds=[(seed, Markup(draw_inline(cell))) for seed, cell in seeds.items()],
            shared=found.shared_edges(list(seeds.values())),
            search=found.SearchView(sources, list(seeds)),
            targets=[trained.TargetView(sources, name) for name in targets],
            footnote=footnote,
        )
    )


def environment() -> Environment:
    """Everything that is put into a template is escaped, unless it is markup made here."""
    return Environment(
        loader=PackageLoader("midas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def seed_genotypes(sources: Sources, kept: Genotype) -> dict[int, Genotype]:
    """The cell of every seed, from decode.json; which nodes a cell joins is the same for all."""
    result = {}
    for entry in sources.value(f"{GENOTYPE}/decode.json", "seeds"):
        cells = {
            kind: CellGenotype(tuple(Edge(*edge) for edge in edges), kept.cells[kind].concat)
            for kind, edges in entry["genotype"].items()
        }
        result[int(entry["seed"])] = Genotype(kept.space, cells)
    return result
