"""How long commands take from process start to end: help, one prediction, a `dvc repro` that has nothing to do.

    python benchmarks/startup.py --model models/digits/model.onnx --image IMAGE --rounds 9

In turns, in the root of a clone where `make repro` was run; prints Markdown. `import typer` is the floor of all of them.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MIDAS = "import sys, midas_cli; midas_cli.main()"


def seconds(command: list[str]) -> float:
    """From process start to end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    model, image = options.model.resolve(), options.image.resolve()
    commands = {
        "python -c 'import typer'": ["-c", "import typer"],
        "midas --help": ["-c", MIDAS, "--help"],
        "midas predict MODEL IMAGE": ["-c", MIDAS, "predict", str(model), str(image)],
        "dvc repro": ["-m", "dvc", "repro"],
    }
    times = {name: list[float]() for name in commands}
    for _ in range(options.rounds + 1):  # the first round fills the caches of files
        for name, command in commands.items():
            times[name].append(seconds(command))
    print("| command | seconds, median | lowest to highest |\n|---|---|---|")
    for name, (_, *found) in times.items():
        print(f"| `{name}` | {statistics.median(found):.2f} | {min(found):.2f} to {max(found):.2f} |")


if __name__ == "__main__":
    main()
