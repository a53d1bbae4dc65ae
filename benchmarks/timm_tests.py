"""timm's own test file, run against the models that this project registers.

    python benchmarks/timm_tests.py CHECKOUT [PYTEST_OPTION...]

CHECKOUT is a clone of https://github.com/huggingface/pytorch-image-models; its tests/test_models.py is run as it is, but
for our module's name in its list of those whose models give intermediates. Nothing of it is copied here. Prints a table
of counts; the exit code is pytest's. All of it takes about eight minutes of one core; `-k midas_darts_v2` asks one cell alone.
"""

import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

import midas.nets.registry as registry

LIST = "FEAT_INTER_FILTERS = ["  # of modules, in timm's test file
OUTCOMES = ("passed", "failed", "skipped")
MODEL = re.compile(r"\[midas|-midas")


class OurModels:
    """A pytest plugin that keeps the tests of our models and counts how they end."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what is asked of a model with our prefix."""
        items[:] = [item for item in items if MODEL.search(item.name)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test counts once: as its call, or as what kept it from being called."""
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.nodeid.rpartition("::")[2].partition("[")[0], report.outcome] += 1


def table(counts: Counter[tuple[str, str]]) -> str:
    """The counts by test function as a Markdown table."""
    lines = [["test", *OUTCOMES], ["---"] * 4]
    for name in sorted({name for name, _ in counts}):
        lines.append([name, *(str(counts[name, outcome]) for outcome in OUTCOMES)])
    lines.append(["all", *(str(sum(n for (_, kind), n in counts.items() if kind == outcome)) for outcome in OUTCOMES)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Run the tests of the checkout given as first argument."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "tests" / "test_models.py"
    if not source.is_file() or LIST not in (text := source.read_text(encoding="utf-8")):
        print(f"{source}: is not timm's test file; give a clone of huggingface/pytorch-image-models", file=sys.stderr)
        return 1
    module = registry.__name__.rpartition(".")[2]  # timm lists models by the last part of their module's name
    os.environ.pop("GITHUB_ACTIONS", None)  # there timm leaves models out
    ours = OurModels()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test_models.py")
        path.write_text(text.replace(LIST, f"{LIST}'{module}', "), encoding="utf-8")
        # without time limits, which a busy machine misses, and without the warnings of timm's own code
        options = ["-q", "-p", "no:timeout", "-p", "no:cacheprovider", "-W", "ignore", "--rootdir", folder]
        code = pytest.main([*options, *sys.argv[2:], str(path)], plugins=[ours])
    print(table(ours.counts))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
