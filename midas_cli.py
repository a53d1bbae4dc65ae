"""The console script `midas`: the light commands, and in a clone of the repository the stages.

It stands outside the package `midas`, whose import registers the models and takes seconds for timm
and torch; help, `init` and `predict` must answer at once.
"""

import importlib.util
import signal
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

INTERRUPTED = 75  # exit code: what was done up to the last checkpoint is kept; run it again


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived; not an Exception, which some handler would take for a fault."""


app = typer.Typer(
    name="midas",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 80},
    rich_markup_mode=None,  # boxes around the help would take longer to load than all the rest
)
bench = typer.Typer(
    no_args_is_help=True, help="Judge a cell, or time a model.", rich_markup_mode=None
)


def _print_version(value: bool) -> None:
    if not value:
        return
    from importlib.metadata import version

    print(f"midas-nas {version('midas-nas')}")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    # listed for the help: `main` takes it out of the arguments, wherever it stands
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """From an image data set to a found, trained and verified ONNX classifier."""


class _RawArguments(TyperCommand):
    """A command that reads its arguments itself, `--` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Hand all of them over."""
        ctx.args = args
        return args


def predict(context: typer.Context) -> None:
    """Classify images with an ONNX file."""
    raise typer.Exit(_load("deploy/predict.py").main(context.args))


def draw(
    genotype: Annotated[
        str, typer.Argument(help="A file, model folder, arch string, or published cell's name.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The file to write: .svg, .png or .pdf.")
    ] = Path("cell.svg"),
) -> None:
    """Draw the cells of a genotype."""
    from midas.drawing.pictures import find_genotype, write_picture

    write_picture(out, find_genotype(genotype))
    print(out)


@bench.command()
def nb201(
    genotype: Annotated[str, typer.Option(help="A genotype file, or an arch string.")],
    table: Annotated[
        Path | None, typer.Option(help="The table (.csv.gz); default: $MIDAS_NB201_TABLE.")
    ] = None,
) -> None:
    """Accuracy, rank and regret of a NAS-Bench-201 cell."""
    from midas.analysis.nasbench201 import find_table, load_table
    from midas.genotype import load_genotype

    cell = load_genotype(genotype)
    rows = load_table(find_table(table)).judge(cell)
    print(cell.to_arch())
    print(f"{'column':22} accuracy     rank of cells   better than   regret")
    for row in rows:
        print(
            f"{row.column:22} {row.accuracy:7.2f} %  {row.rank:7} {row.cells:8}     "
            f"{row.percentile:6.2f} %  {row.regret:7.2f}"
        )


@bench.command(name="nb201-import")
def nb201_import(
    file: Annotated[
        Path, typer.Argument(help="NATS-tss-v1_0-*.pickle.pbz2, or its -simple folder.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The table to write.")] = Path(
        "nasbench201.csv.gz"
    ),
) -> None:
    """Make the table from the official file, which is a pickle."""
    from midas.analysis.nasbench201 import import_table

    print(f"{out}: {', '.join(import_table(file, out))}")


@bench.command(name="onnx")
def bench_onnx(
    folder: Annotated[Path, typer.Argument(help="A model folder that was exported.")],
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 2.0,
) -> None:
    """Time torch and each ONNX file on this machine."""
    from midas.deploy.latency import measure_latency, table

    print(table(measure_latency(folder, seconds=seconds, write=False)))


def zoo() -> None:
    """List the models that timm knows, with sizes and costs."""
    print(_load("zoo/table.py").markdown())


def push(
    folder: Annotated[Path, typer.Argument(help="A model folder, models/NAME.")],
    repo: Annotated[str, typer.Argument(help="USER/NAME on the Hugging Face hub.")],
) -> None:
    """Put a model folder on the Hugging Face hub."""
    from midas.zoo.model_folder import push as push_folder

    print(push_folder(folder, repo))


def _load(path: str) -> ModuleType:
    """A file of the package `midas` as a module of its own, without importing the package."""
    package = importlib.util.find_spec("midas")
    assert package is not None, "the package midas is installed with this script"
    assert package.origin is not None
    file = Path(package.origin).parent / path
    loader = SourceFileLoader(f"_midas_{file.stem}", str(file))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def add_all_commands() -> None:
    """Add the commands in the order in which they are used: the help lists them so."""
    if importlib.util.find_spec("pipeline") is not None:
        from pipeline.cli import add_commands

        add_commands(app)
    app.command(cls=_RawArguments)(predict)
    app.command()(draw)
    app.add_typer(bench, name="bench")
    app.command()(zoo)
    app.command()(push)


def main() -> None:
    """Run the command line: 0 done, 1 failed with one line, 2 usage, 75 interrupted."""
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = [argument for argument in sys.argv[1:end] if argument != "--debug"]
    debug = len(arguments) < end - 1
    arguments += sys.argv[end:]
    add_all_commands()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(args=arguments, prog_name="midas")
    except Stopped:
        message = "midas: interrupted; checkpoints hold every finished step: run it again to go on"
        print(message, file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        errors = sys.modules.get("midas.io.errors")  # missing where none of them can be raised
        text = str(error)
        if errors is None or not isinstance(error, errors.MidasError):
            text = f"internal error: {type(error).__name__}: {error} (--debug shows the traceback)"
        sys.exit(f"midas: {text}")


def _stop(number: int, frame: object) -> None:
    raise Stopped


if __name__ == "__main__":
    main()
