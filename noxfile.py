"""The test suite on the oldest and the newest supported libraries: `nox`, or
`nox -s "tests(oldest)"`.

pyproject.toml has the bounds; uv picks the lowest or the highest release that they allow.
"""

import nox

nox.options.default_venv_backend = "uv"
TOOLS = (
    "grimp>=3.5",
    "hypothesis>=6.100",
    "pytest>=8.2,<9.2",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
)


@nox.session(python="3.11")
@nox.parametrize("resolution", ["lowest-direct", "highest"], ids=["oldest", "newest"])
def tests(session: nox.Session, resolution: str) -> None:
    """The quick tests without those of the docs; for others say `nox -- tests/search`."""
    session.install("--resolution", resolution, "--editable", ".[pipeline]", *TOOLS)
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    quick_tests = ("pytest", "-m", "not slow", "--ignore=tests/docs")
    session.run(*quick_tests, *session.posargs, env=environment)
