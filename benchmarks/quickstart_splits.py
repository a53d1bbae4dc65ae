"""The quickstart on other test splits: does the digits model reach its accuracy whatever images it is tested on?

    python benchmarks/quickstart_splits.py 0 1 2

For each split seed: a fresh clone of HEAD, `data.split_seed` set, `dvc repro`; prints a Markdown table.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_split(seed: int, folder: Path) -> dict[str, float]:
    """The evaluated metrics of the quickstart with this split seed."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    params = folder / "params.yaml"
    params.write_text((folder / "presets/quickstart.yaml").read_text().replace("split_seed: 0", f"split_seed: {seed}"))
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "PYTHONPATH": str(folder)}
    subprocess.run(["dvc", "repro", "-q"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    metrics: dict[str, float] = json.loads((folder / "artifacts/evaluate/digits/metrics.json").read_text())
    return metrics


def main() -> None:
    """Run the split seeds given as arguments."""
    print(
        "| split seed | test accuracy, torch | ONNX | class agreement | largest difference / logit range |\n|---|---|---|---|---|"
    )
    for seed in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as name:
            m = run_split(seed, Path(name) / "clone")
        print(
            f"| {seed} | {m['accuracy_torch']:.2%} | {m['accuracy_onnx']:.2%} | {m['class_agreement']:.0%} "
            f"| {m['relative_difference']:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
