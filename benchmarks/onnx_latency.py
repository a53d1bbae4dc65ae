"""How much faster onnxruntime is than torch eager on one image, for the published 20-cell network.

    python benchmarks/onnx_latency.py [--rounds 5] [--seconds 4] [--threads 2] [--model midas_darts_v2_cifar]

Random weights, which cost what trained ones do. In each round the runtimes run in turns, so that whatever else the
machine does disturbs all alike; the ratio of a round is that of its medians. Prints a Markdown table with the load.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import timm
import torch

import midas  # noqa: F401 - registers the models
from midas.bench.latency import latency
from midas.deploy.export import export_onnx

RUNTIMES = ("torch", "torch_channels_last", "onnxruntime")
LIMIT = 0.2  # of torch eager


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default="midas_darts_v2_cifar")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = timm.create_model(options.model).eval()
    size = tuple(model.pretrained_cfg["input_size"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export_onnx(model, path, input_size=size, metadata={})
        weights = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
        print(f"{options.model}: file {path.stat().st_size:,} bytes, weights {weights:,}", flush=True)
        print(f"| {' | '.join(('round', *RUNTIMES, 'onnxruntime / torch', 'load'))} |\n{'|---' * 6}|", flush=True)
        ratios = []
        for number in range(1, options.rounds + 1):
            found = latency(model, path, size, (1,), (options.threads,), options.seconds)
            times = [found["results"][0][name]["p50_ms"] for name in RUNTIMES]
            ratios.append(times[2] / times[0])
            cells = [f"{time:.1f} ms" for time in times]
            print(f"| {number} | {' | '.join(cells)} | {ratios[-1]:.3f} | {os.getloadavg()[0]:.1f} |", flush=True)
    print(
        f"\nonnxruntime takes {statistics.median(ratios):.3f} of torch eager (median of {len(ratios)} rounds, "
        f"{min(ratios):.3f} to {max(ratios):.3f}; at most {LIMIT} is wanted), batch 1, {options.threads} threads, "
        f"{found['cpu']}, {found['cores']} cores, {found['versions']}"
    )


if __name__ == "__main__":
    main()
