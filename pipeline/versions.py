"""Whether the installed libraries are those of versions.txt, on which every stage depends.

DVC sees files, not installed packages: where the two differ, its cache holds another library's
results.
"""

from pathlib import Path

PINS = Path("versions.txt")


def differing(pins: Path = PINS) -> list[str]:
    """What the file has another version of, e.g. ``torch 2.9.0 (versions.txt: 2.14.1)``."""
    if not pins.is_file():
        return []  # outside of a clone
    from importlib.metadata import PackageNotFoundError, version  # here: help does not need it

    lines = [line.strip() for line in pins.read_text(encoding="utf-8").splitlines()]
    differences = []
    for name, _, pinned in (line.partition("==") for line in lines if "==" in line):
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # the stage that needs it says so
        # 2.14.1+cpu is another build, not another version
        if installed.partition("+")[0] != pinned:
            differences.append(f"{name} {installed} ({pins}: {pinned})")
    return differences


def warning() -> str:
    """A line where results and cache may be of different libraries; else nothing."""
    if not (differences := differing()):
        return ""
    return (
        f"warning: {', '.join(differences)}: cached results are of the versions in {PINS}; "
        "make setup installs those, or write yours there to run the pipeline again\n"
    )
