"""How long commands take from process start to end, in seconds.

    python benchmarks/startup.py
    python benchmarks/startup.py --model models/digits/model.onnx --beside OLD

The commands are `import typer`, the floor of all others, `midas --help`, with `--model` a
prediction, and with `--repro` a `dvc repro` (run `make repro` before, so that it has nothing to
do). `--beside OLD`, another checkout of this project, runs each there too, in turns. Prints a
Markdown table of median, lowest and highest; the ratio is of the medians, here over there.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIDAS = "import midas_cli; midas_cli.main()"


def seconds(command: list[str], checkout: Path) -> float:
    """From process start to end, in the root of a checkout, whose own code is run."""
    start = time.perf_counter()
    command = [sys.executable, *command]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repro", action="store_true")
    parser.add_argument("--beside", type=Path, metavar="OLD")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    commands = {"import typer": ["-c", "import typer"], "midas --help": ["-c", MIDAS, "--help"]}
    if options.repro:
        commands["dvc repro"] = ["-m", "dvc", "repro"]
    if options.model:
        files = [str(options.model.resolve()), str(ROOT / "docs/web.png")]
        commands["midas predict MODEL IMAGE"] = ["-c", MIDAS, "predict", *files]
    checkouts = [ROOT, options.beside.resolve()] if options.beside else [ROOT]
    print("| command | seconds | beside it | ratio |\n|---|---|---|---|")
    for name, command in commands.items():
        rounds = [[seconds(command, place) for place in checkouts] for _ in range(options.rounds)]
        times = list(zip(*rounds, strict=True))
        cells = [f"{statistics.median(t):.2f} ({min(t):.2f} to {max(t):.2f})" for t in times]
        if options.beside:
            cells.append(f"{statistics.median(times[0]) / statistics.median(times[1]):.2f}")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
