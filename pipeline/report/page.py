"""The report of one pipeline: a single HTML page that needs nothing outside itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from midas.drawing.svg import draw_inline
from midas.genotype import load_genotype
from midas.io import files
from pipeline import names, params, paths, targets
from pipeline.report.charts import thumbnail
from pipeline.report.search_section import SELECT, SearchView
from pipeline.report.target_section import TargetView
from pipeline.report.values import Sources

StageRun = tuple[str, str | None]  # (name in DVC, e.g. search@0; file that `_record` returns)


def stage_runs() -> list[StageRun]:
    """The runs in dvc.lock of the stages that params.yaml asks for, in the order of dvc.yaml."""
    lock = Path("dvc.lock")
    locked = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    seeds = params.value("seeds", params.Seeds)
    training_seeds = params.value("training_seeds", params.Seeds)
    sections = targets.sections()
    runs = []
    for stage, definition in stages.items():
        command, _, kind = stage.partition("-")  # train-timm is the command train
        section = f"{kind}_targets" if kind else "targets"
        items: list[Any] = [name for name in sections if sections[name] == section]
        if command == "train":
            items = [names.Training(name, seed) for name in items for seed in training_seeds]
        elif command in ("search", "decode"):
            items = seeds
        for item in [f"@{item}" for item in items] if "matrix" in definition else [""]:
            outs = locked.get(stage + item, {}).get("outs")
            if outs is not None:
                runs.append((stage + item, _record(command + item, outs)))
    return runs


def _record(name: str, outs: Sequence[Mapping[str, Any]]) -> str | None:
    """The file with a run's time and memory; None if these outs of dvc.lock were not made here."""
    record = paths.COST / f"{name}.json"
    # only files: how DVC hashes a folder is internal to it
    hashes = {out["path"]: out["md5"] for out in outs if not out["md5"].endswith(".dir")}
    ran_here = record.is_file() and files.read_json(record)["outs"] == hashes
    return str(record) if ran_here else None


def render_report(root: Path, content: Mapping[str, Any], stages: Sequence[StageRun]) -> str:
    """The page about the pipeline in `root`; raises MidasError for missing or damaged files."""
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,  # of everything but markup made in this package
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["draw"] = lambda genotype: Markup(draw_inline(genotype))
    sources = Sources(root)
    genotype = load_genotype(paths.written(root / paths.GENOTYPE / "genotype.json"))
    return environment.get_template("report.html.j2").render(
        title=f"MIDAS report: {sources.value(f'{paths.DATA}/meta.json', 'source')}",
        s=sources,
        params=content,
        parameters=files.read_text(root / "params.yaml"),
        stages=stages,
        genotype=genotype,
        search=SearchView(sources, genotype),
        targets=[TargetView(sources, name) for name in targets.sections(content)],
        paths=paths,
        select=SELECT,
        thumbnail=thumbnail,
    )
