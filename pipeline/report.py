"""Stage `report`: everything that the pipeline left, in one page; or several experiments side by side."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from pipeline import layout, names


def command(
    revisions: Annotated[
        list[str] | None, typer.Argument(metavar="[REV]...", help="With --compare: commits, branches or experiments.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put experiments side by side: --compare REV REV...")
    ] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file to write.")] = None,
) -> None:
    """Write report/index.html: cells, weights, patches, seeds, curves, mistakes, parity, cost, provenance."""
    from midas.report.comparison import render_comparison
    from midas.report.page import render_report
    from midas.runs import files
    from midas.runs.summary import Fact, summarise
    from pipeline import params

    if compare != bool(revisions):
        raise typer.BadParameter("say --compare REV REV..., or neither")
    path = out or layout.REPORT / ("comparison.html" if compare else "index.html")
    if revisions:
        with tempfile.TemporaryDirectory() as folder:
            page = render_comparison([checked_out(name, Path(folder)) for name in revisions])
    else:
        page = render_report(Path(), params.read(), stage_runs())
    files.write_text(path, page)
    summarise("report", {path.name: {"size": Fact(len(page.encode()) / 1e6, ".2f", " MB")}}, path)


def stage_runs() -> list[Any]:
    """Every run of a stage in dvc.lock that params.yaml still asks for, and whether its files were made here."""
    from midas.report.page import StageRun
    from midas.runs import files
    from pipeline import params

    lock = Path("dvc.lock")
    locked = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    targets, wanted = params.value("targets", dict[str, Any]), {"search": params.value("seeds", list[int])}
    wanted["train"] = [names.Training(target, seed) for target in targets for seed in params.training_seeds()]
    order = list(yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"])
    runs = []
    for name, entry in sorted(locked.items(), key=lambda item: order.index(item[0].partition("@")[0])):
        stage, _, item = name.partition("@")
        if "outs" in entry and (not item or item in map(str, wanted.get(stage, targets))):
            record = layout.COST / f"{name}.json"
            # a folder's hash is DVC's own to make
            hashes = {out["path"]: out["md5"] for out in entry["outs"] if not out["md5"].endswith(".dir")}
            here = record.is_file() and files.read_json(record)["outs"] == hashes
            runs.append(StageRun(name, here, str(record)))
    return runs


def checked_out(name: str, folder: Path) -> Any:
    """The files of one experiment, taken from git and the DVC cache (or the remote) into a folder of their own."""
    from dvc.api import DVCFileSystem

    from midas.report.comparison import FILES, Experiment
    from midas.runs.errors import MidasError

    try:
        tree = DVCFileSystem(rev=name)
        params = yaml.safe_load(tree.read_text("params.yaml"))
        root = folder / name.replace("/", "_")
        # the names become paths below: another's branch must not choose where files are written
        targets: Sequence[str] = [names.checked(name) for name in params["targets"]]
        seeds: Sequence[int] = [int(seed) for seed in params["seeds"]]
        wanted = [
            *(f"artifacts/search/seed-{seed}/history.csv" for seed in seeds),
            *(f"artifacts/train/{target}/seed-{kept_seed(tree, target)}/history.csv" for target in targets),
            *(f"artifacts/{stage}/{target}/metrics.json" for target in targets for stage in ("build", "evaluate")),
        ]
        for file in (*FILES, *(file for file in wanted if tree.exists(file))):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(tree.read_bytes(file))
    except Exception as error:  # what DVC raises for an unknown revision or a file that is nowhere is its own to choose
        text = " ".join(str(error).split())
        raise MidasError(
            f"report --compare: {name}: cannot be read ({text}); run it, or `dvc pull` it, first"
        ) from error
    return Experiment(name, root, params)


def kept_seed(tree: Any, target: str) -> int:
    """The training seed that an experiment kept of a target; 0 where it was not built, so that there is no training either."""
    built = f"artifacts/build/{target}/metrics.json"
    return int(json.loads(tree.read_text(built))["kept_seed"]) if tree.exists(built) else 0
