"""Any bytes in the place of a file: only the documented errors come out.

`MIDAS_FUZZ_CASES` says how many cases a kind of file gets (100). fuzz.py in this folder does the
same guided by coverage.
"""

import os

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("MIDAS_FUZZ_CASES", "100"))
TOKENS = [
    b"",
    b"\0",
    b"\n",
    b"'",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b"*",
    b"&",
    b"!!int ",
    b"-1",
    b"1e999",
    b"9" * 20,
    b"null",
]
TOKENS += [
    b"NaN",
    b"\xff",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\x88\x00",
    b"\x7f\xff\xff\xff",
    b"9" * 5000,
]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A valid file with a few places overwritten, doubled or cut out; or any bytes."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        middle = draw(
            st.one_of(st.sampled_from(TOKENS), st.binary(max_size=8), st.just(data[start:end] * 2))
        )
        data = data[:start] + middle + data[end:]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data


@pytest.mark.parametrize("kind", TARGETS)
def test_only_documented_errors_come_out_of_any_bytes(kind: str) -> None:
    target, seeds = TARGETS[kind]

    @settings(max_examples=CASES, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(mutated(seeds), mutated(seeds), mutated(seeds), st.binary(max_size=200)))
    def holds(data: bytes) -> None:
        target(data)

    holds()


@pytest.mark.parametrize("kind", TARGETS)
def test_the_seeds_are_valid(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the mutations would be of files that are refused at their first byte."""
    from midas.deploy import predict
    from midas.io.errors import MidasError

    def refuse(self: BaseException, *args: object) -> None:
        raise AssertionError(f"a seed of {kind} is refused: {args}")

    target, seeds = TARGETS[kind]
    if kind in ("image", "onnx"):
        monkeypatch.setattr(predict.Failures, "add", refuse)
        monkeypatch.setattr(predict.PredictError, "__init__", refuse)
    elif kind == "parameters":
        monkeypatch.setattr(MidasError, "__init__", refuse)
    for seed in seeds:
        target(seed)
