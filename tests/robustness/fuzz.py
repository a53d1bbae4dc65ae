"""Fuzz one kind of file, guided by coverage.

Usage: python tests/robustness/fuzz.py KIND [libFuzzer's options], e.g. fuzz.py genotype
-runs=100000 -seed=1. It needs atheris (pip install 'midas-nas[fuzz]'). Inputs that reach new code
are kept in .fuzz/KIND, where the next call goes on; one that breaks something is written to the
working folder.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["midas", "pipeline", "yaml"]):
    from fuzz_targets import TARGETS


def main() -> None:
    """Run libFuzzer on the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"say one of {', '.join(TARGETS)}")
    kind = sys.argv.pop(1)
    target, seeds = TARGETS[kind]
    corpus = Path(".fuzz", kind)
    corpus.mkdir(parents=True, exist_ok=True)
    for k, seed in enumerate(seeds):
        (corpus / f"seed-{k}").write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            "-max_len=8192",
            "-timeout=60",
            "-rss_limit_mb=4096",
            *sys.argv[1:],
        ],
        target,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
