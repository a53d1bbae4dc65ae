"""The comparison of experiments on one page: their parameters, numbers, cells and curves."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from markupsafe import Markup

from midas.genotype import load_genotype
from midas.io import files
from midas.io.errors import MidasError
from pipeline import names, paths
from pipeline.params import parse
from pipeline.report import charts
from pipeline.report.page import render
from pipeline.report.search_section import SELECT, kept_index
from pipeline.report.target_section import kept_training
from pipeline.report.values import Sources

GENOTYPE = paths.GENOTYPE / "genotype.json"


def compare(revisions: Sequence[str]) -> str:
    """Render the page about these revisions of the repository; raises MidasError as `checkout`."""
    with tempfile.TemporaryDirectory() as folder:
        return render_comparison([checkout(revision, Path(folder)) for revision in revisions])


def checkout(revision: str, folder: Path) -> Sources:
    """Copy an experiment's files from git and the DVC cache, or the remote, into a folder.

    Raises MidasError if the revision is unknown, or if a file is in neither place.
    """
    root = folder / revision.replace("/", "_")
    try:
        tree = DVCFileSystem(rev=revision)
        optional = [file for file in _optional_files(tree) if tree.exists(file)]
        for file in ("params.yaml", str(GENOTYPE), SELECT, *optional):
            files.write_bytes(root / file, tree.read_bytes(file))
    except Exception as error:  # DVC does not document what it raises
        reason = " ".join(str(error).split())
        raise MidasError(
            f"report --compare: {revision}: cannot be read ({reason}); "
            "run this experiment, or `dvc pull` it, first"
        ) from error
    return Sources(root, revision)


def _optional_files(tree: Any) -> Iterator[str]:
    """The files of seeds and targets, some of which an experiment may lack."""
    params = parse(tree.read_text("params.yaml"))
    for seed in params["seeds"]:
        yield f"{paths.search(int(seed))}/history.csv"
    for name in params["targets"]:
        # The name becomes a path: someone else's branch must not choose where files are written.
        target = names.check_target(name)
        built = f"{paths.BUILD}/{target}/metrics.json"
        yield built
        yield f"{paths.EVALUATE}/{target}/metrics.json"
        if tree.exists(built):
            seed = int(json.loads(tree.read_text(built))["kept_seed"])
            yield f"{paths.training(target, seed)}/history.csv"


def render_comparison(sources: Sequence[Sources]) -> str:
    """Render the page; raises MidasError if an experiment lacks a file."""
    params = [parse(files.read_text(source.root / "params.yaml")) for source in sources]
    targets = sorted({target for each in params for target in each["targets"]})
    return render(
        "comparison.html.j2",
        title="MIDAS report: " + ", ".join(source.revision for source in sources),
        sources=sources,
        differing=differences(params),
        kept=[kept_index(source) for source in sources],
        targets=targets,
        genotypes=[load_genotype(source.root / GENOTYPE) for source in sources],
        curves=_all_curves(sources, targets),
    )


def differences(params: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """(dotted name, values) of the parameters that differ; "-" where an experiment lacks one."""
    flat = [_flatten("", each) for each in params]
    keys = sorted({key for each in flat for key in each})
    rows = [(key, [str(each.get(key, "-")) for each in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _flatten(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    parts = [_flatten(f"{name}.{key}" if name else str(key), value[key]) for key in value]
    return {key: leaf for part in parts for key, leaf in part.items()}


def _all_curves(sources: Sequence[Sources], targets: Sequence[str]) -> list[Markup]:
    """The curves of the kept searches, and of the kept trainings of each target."""
    searches = {source: paths.search(source.value(SELECT, "kept_seed")) for source in sources}
    curves = [_curves("held-out accuracy, search", searches, "arch_accuracy")]
    for target in targets:
        built = [source for source in sources if source.has(f"{paths.BUILD}/{target}/metrics.json")]
        trainings = {source: kept_training(source, target) for source in built}
        curves.append(_curves(f"validation accuracy of {target}", trainings, "val_accuracy"))
    return curves


def _curves(label: str, folders: Mapping[Sources, Path], column: str) -> Markup:
    """A column of each experiment's history over epochs."""
    series = {
        source.revision: source.series(f"{folder}/history.csv", "epoch", column)
        for source, folder in folders.items()
    }
    return charts.lines(label, series, label)
