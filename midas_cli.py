"""The console script `midas`.

It stands outside the package `midas`, whose import registers the models and so takes seconds for timm and torch: help,
`init` and `predict` must answer at once. The stage commands are added where the folder `pipeline/` is importable, which
is in a clone of the repository; a wheel has the light commands alone.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

# endless spinning stalls beside any busy process, none is slow on an idle machine
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

PRESETS = Path("presets")
PARAMS = Path("params.yaml")


class CommandError(Exception):
    """Something the user can mend, in a command that must not import `midas`."""


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived; not an Exception, so that nothing on the way takes it for a fault."""


INTERRUPTED = 75  # what was done up to the last checkpoint is kept; run it again
app = typer.Typer(
    name="midas",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
    rich_markup_mode=None,  # boxes around the help would take longer to load than all the rest
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"midas-nas {version('midas-nas')}")
        except PackageNotFoundError:  # a clone that is run where it lies
            print("midas-nas, not installed")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    # here for the help: `main` takes it out of the arguments, wherever it stands
    debug: Annotated[bool, typer.Option("--debug", help="With any command: a traceback of what fails.")] = False,
) -> None:
    """From an image data set to a found, trained and verified ONNX classifier."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def predict(context: typer.Context) -> None:
    """Classify images with an ONNX file: midas predict MODEL.onnx IMAGE... (more: midas predict --help)."""
    raise typer.Exit(_load("deploy/predict.py").main(context.args))


@app.command()
def init(
    preset: Annotated[str, typer.Argument(help="A name from presets/, e.g. quickstart, cifar10-cpu, folder.")],
    force: Annotated[bool, typer.Option(help="Replace a params.yaml that was edited.")] = False,
) -> None:
    """Write presets/PRESET.yaml to params.yaml; refuses to overwrite an edited one."""
    names = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    if not names or not Path("dvc.yaml").is_file():
        raise CommandError(
            "init works in the root of a clone of the repository, where dvc.yaml and presets/ are; this folder has none"
        )
    if preset not in names:
        raise CommandError(f"init: there is no preset {preset!r}; known are {', '.join(names)}")
    if PARAMS.is_file() and not force and not _is_known(PARAMS.read_bytes()):
        raise CommandError(
            "params.yaml differs from every preset and from HEAD, so writing the preset would lose your edits; "
            "commit or move it, or say --force"
        )
    temporary = PARAMS.with_suffix(".yaml.part")
    temporary.write_bytes((PRESETS / f"{preset}.yaml").read_bytes())
    temporary.replace(PARAMS)  # whole or not at all
    print(f"params.yaml is now the preset {preset}")
    if (root := _root(PARAMS)) is not None and not root.exists():  # of which DVC would say but that it is not there
        print(f"next: set data.root in it, which is {root} and not there yet; `midas data` checks what lies in it")


@app.command()
def draw(
    genotype: Annotated[
        str, typer.Argument(help="A file, a model folder, an arch string, or a published cell's name.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write: .svg, .png or .pdf.")] = Path("cell.svg"),
) -> None:
    """Draw the cells of a genotype: midas draw darts_v2 -o cell.pdf."""
    from midas.report.pictures import find_genotype, write_picture

    write_picture(out, find_genotype(genotype))
    print(out)


bench = typer.Typer(
    no_args_is_help=True,
    help="Judge a found cell by a table; time a step of a search, or a model.",
    rich_markup_mode=None,
)
app.add_typer(bench, name="bench")


@bench.command()
def nb201(
    arch: Annotated[str, typer.Option(help="An arch string, |op~0|+|op~0|op~1|+...")] = "",
    genotype: Annotated[Path | None, typer.Option(help="A genotype file.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="The table (a .csv.gz); else the variable MIDAS_NB201_TABLE.")
    ] = None,
) -> None:
    """Accuracies, rank, percentile and regret of a NAS-Bench-201 cell."""
    from midas.bench.nasbench201 import find_table, load_table
    from midas.genotype import load_genotype

    if bool(arch) == bool(genotype):
        raise CommandError("bench nb201: say either --arch STRING or --genotype FILE")
    found = load_genotype(genotype or arch)
    print(f"{found.to_arch()}\n{'column':22} accuracy     rank of cells   better than   regret")
    for j in load_table(find_table(table)).judge(found):
        print(f"{j.column:22} {j.accuracy:7.2f} %  {j.rank:7} {j.cells:8}     {j.percentile:6.2f} %  {j.regret:7.2f}")


@bench.command()
def step(
    space: Annotated[str, typer.Option(help="The space to search.")] = "darts",
    channels: Annotated[int, typer.Option()] = 16,
    cells: Annotated[int, typer.Option(help="Cells; for nasbench201 in each of three stages.")] = 8,
    size: Annotated[int, typer.Option(help="Side of the images.")] = 32,
    batch: Annotated[int, typer.Option()] = 64,
    runs: Annotated[int, typer.Option(help="How often each case is timed.")] = 7,
    memory: Annotated[bool, typer.Option(help="Peak memory too, each case in a process of its own.")] = True,
) -> None:
    """Time and memory of a search step: static parameters, then MIDAS with no patch, patches of 4 and of 8."""
    from midas.bench.cases import StepCase
    from midas.bench.steps import measure, table

    arms: list[tuple[str, str, int | None]] = [("static", "darts", None)]
    arms += [(f"MIDAS, patch {patch or 'none'}", "midas", patch) for patch in (None, 4, 8)]
    cases = [
        StepCase(name, arm, patch, space, channels=channels, cells=cells, size=size, batch=batch)
        for name, arm, patch in arms
    ]
    print(table(cases, measure(cases, runs, memory)))


@bench.command(name="onnx")
def bench_onnx(
    folder: Annotated[Path, typer.Argument(help="A model folder, models/NAME, that was exported.")],
    seconds: Annotated[float, typer.Option(help="Of each batch size with each number of threads.")] = 2.0,
) -> None:
    """Time batches of 1, 8 and 32 on this machine, in turns: torch, torch with channels last, each ONNX file."""
    from midas.bench.latency import latency, table
    from midas.deploy.folder import open_model_folder
    from midas.deploy.packages import load_exported
    from midas.deploy.ship import MODEL, find_variants

    model, config = open_model_folder(folder)
    load_exported(folder)  # says what is wrong with the file before anything is timed
    size = tuple(config["pretrained_cfg"]["input_size"])
    print(table(latency(model, folder / MODEL, size, seconds=seconds, variants=find_variants(folder))))


@bench.command(name="nb201-import")
def nb201_import(
    file: Annotated[Path, typer.Argument(help="NATS-tss-v1_0-*.pickle.pbz2, or its -simple folder. It is unpickled.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The table to write.")] = Path("nasbench201.csv.gz"),
) -> None:
    """Make the small table of accuracies from the official NATS-Bench file (needs the package nats_bench)."""
    from midas.bench.nasbench201_import import import_table

    print(f"{out}: {', '.join(import_table(file, out))}")


zoo = typer.Typer(help="The models that timm knows after `import midas`.", rich_markup_mode=None)
app.add_typer(zoo, name="zoo")


@zoo.callback(invoke_without_command=True)
def zoo_list(
    context: typer.Context,
    markdown: Annotated[bool, typer.Option(help="As the README shows it.")] = False,
) -> None:
    """List the registered cells: parameters, multiply-adds and, where it was measured, accuracy."""
    if context.invoked_subcommand is None:
        table = _load("nets/zoo_table.py")
        print(table.markdown() if markdown else table.text())


@zoo.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A model folder, models/NAME.")],
    name: Annotated[str | None, typer.Option(help="The cell's name; by default the folder's.")] = None,
) -> None:
    """Give a found cell a registered name, with where it came from (its weights stay in the folder)."""
    if not Path("dvc.yaml").is_file():
        raise CommandError("zoo add works in the root of a clone of the repository, whose midas/zoo.json it changes")
    from midas.nets.zoo import add as add_cell
    from midas.runs import files

    tested, model, accuracy = Path("artifacts/evaluate", folder.resolve().name), folder / "model.onnx", None
    of = files.read_json(tested / "mistakes.json") if (tested / "mistakes.json").is_file() else {}
    if model.is_file() and of.get("sha256") == files.sha256(model):  # not of another model of that name
        metrics = files.read_json(tested / "metrics.json")
        on = f"{metrics['images']:,} test images"
        accuracy = {"value": metrics["accuracy_torch"], "on": on}
    table, readme = _load("nets/zoo_table.py"), Path("README.md")
    before = table.markdown()
    print(*add_cell(folder, name, accuracy), sep="\n")
    if readme.is_file() and before in (shown := readme.read_text(encoding="utf-8")):
        files.write_text(readme, shown.replace(before, table.markdown()))  # the README shows the same table


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="A model folder, models/NAME.")],
    repo: Annotated[str, typer.Argument(help="USER/NAME on the Hugging Face hub.")],
) -> None:
    """Put a model folder on the Hugging Face hub, in timm's layout (needs a token)."""
    from midas.nets.zoo import push as push_folder

    print(push_folder(folder, repo))


def _root(path: Path) -> Path | None:
    """What `data.root` says, in a file that the project wrote."""
    import yaml

    root = yaml.safe_load(path.read_text(encoding="utf-8"))["data"].get("root")
    return None if root is None else Path(root)


def _is_known(current: bytes) -> bool:
    """Whether these parameters can be had again: from a preset or from git's HEAD."""
    if any(path.read_bytes() == current for path in PRESETS.glob("*.yaml")):
        return True
    shown = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, check=False)
    return shown.returncode == 0 and shown.stdout == current


def _load(path: str) -> ModuleType:
    """A file of the package `midas` as a module of its own, without importing the package."""
    package = importlib.util.find_spec("midas")
    assert package is not None, "the package midas is installed with this script"
    assert package.submodule_search_locations
    file = Path(package.submodule_search_locations[0], path)
    spec = importlib.util.spec_from_file_location(f"_midas_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the command line: 0 done, 1 failed with one line, 2 usage, 75 interrupted."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if importlib.util.find_spec("pipeline") is not None:
        from pipeline.app import add_stages

        add_stages(app)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(args=arguments, prog_name="midas")
    except Stopped:
        print("midas: interrupted; checkpoints hold every finished epoch: run it again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        _fail(error)


def _stop(number: int, frame: object) -> None:
    raise Stopped


def _fail(error: Exception) -> None:
    """One line for what a user can mend; a fault of this project says so."""
    if isinstance(error, CommandError):
        print(f"midas: {error}", file=sys.stderr)
        sys.exit(1)
    errors = sys.modules.get("midas.runs.errors")  # where nothing has imported it, nothing has raised it
    if errors is None or not isinstance(error, errors.MidasError):
        print(
            f"midas: internal error: {type(error).__name__}: {error} (run again with --debug for the traceback)",
            file=sys.stderr,
        )
        sys.exit(1)
    print(f"midas: {error}", file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
