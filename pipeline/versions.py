"""Whether the libraries that are installed are those of versions.txt, on which every stage depends.

DVC sees files, not installed packages: where the two differ, what it answers from its cache is another library's result.
"""

from pathlib import Path

PINS = Path("versions.txt")


def differing(pins: Path = PINS) -> list[str]:
    """What is installed in another version than the file says, e.g. ``torch 2.9.0 (versions.txt: 2.14.1)``."""
    if not pins.is_file():
        return []  # outside of a clone
    from importlib.metadata import PackageNotFoundError, version  # here: help has no use for it and waits for it

    lines = [line.strip() for line in pins.read_text(encoding="utf-8").splitlines()]
    found = []
    for name, _, pinned in (line.partition("==") for line in lines if "==" in line):
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # the stage that needs it says so
        if installed.partition("+")[0] != pinned:  # 2.14.1+cpu is another build, not another version
            found.append(f"{name} {installed} ({pins}: {pinned})")
    return found


def warning() -> str:
    """A line for people where results and cache may be of different libraries; else nothing."""
    found = differing()
    return (
        f"warning: {', '.join(found)}: cached results are of the versions in {PINS}; "
        f"make setup installs those, or write yours there to run the pipeline again\n"
        if found
        else ""
    )
