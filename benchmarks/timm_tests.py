"""timm's own test file, run on the models that this project registers.

    python benchmarks/timm_tests.py CHECKOUT [PYTEST_OPTION ...]

CHECKOUT is a clone of https://github.com/huggingface/pytorch-image-models. Its tests/test_models.py
is run as it is, except that our module's name is added to its list of modules whose models give
intermediate features. The output and the exit code are pytest's. All models take about eight
minutes on one core; `-k midas_darts_v2` runs one cell.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from midas.zoo import registry

LIST = "FEAT_INTER_FILTERS = ["  # in timm's test file: last parts of modules' names
OPTIONS = "-q -k midas -p no:timeout -p no:cacheprovider -W ignore"


def main() -> int:
    """Run the tests of the checkout that is the first argument."""
    source = Path(*sys.argv[1:2], "tests/test_models.py")
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    if LIST not in text:
        print(f"{source} is not timm's; name a clone of pytorch-image-models", file=sys.stderr)
        return 2
    module = registry.__name__.rpartition(".")[2]
    os.environ.pop("GITHUB_ACTIONS", None)  # there timm leaves models out
    os.environ["PYTEST_ADDOPTS"] = OPTIONS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "test_models.py")
        path.write_text(text.replace(LIST, f"{LIST}'{module}', "), encoding="utf-8")
        return int(pytest.main(["--rootdir", folder, *sys.argv[2:], str(path)]))


if __name__ == "__main__":
    sys.exit(main())
