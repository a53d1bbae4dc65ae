"""The test suite on the oldest and the newest supported libraries: `nox`, or `nox -s "tests(oldest)"`.

The bounds are those of pyproject.toml; uv picks the lowest or the highest release that they allow, so no list stands here.
"""

import nox

nox.options.default_venv_backend = "uv"
TOOLS = ("grimp>=3.5", "hypothesis>=6.100", "pytest>=8.2,<9.2", "pytest-timeout>=2.3", "pytest-xdist>=3.6")


@nox.session(python="3.11")
@nox.parametrize("resolution", ["lowest-direct", "highest"], ids=["oldest", "newest"])
def tests(session: nox.Session, resolution: str) -> None:
    """The quick tests (others: `nox -- tests/search`), without the tools that only check style and docs."""
    session.install("--resolution", resolution, "--editable", ".[pipeline]", *TOOLS)
    session.run(
        "pytest", "-m", "not slow", "--ignore=tests/docs", *session.posargs,
        env={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
