"""SIGTERM and SIGINT in the middle of a step: the step is finished, the state is saved, and then the signal takes effect."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether a signal has arrived."""

    number: int | None = None


@contextmanager
def held() -> Iterator[Interruption]:
    """Hold signals back within the block; one that arrived is delivered to the former handler at the end of it.

    Outside the main thread, where Python delivers no signals, nothing is held.
    """
    seen = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield seen
        return

    def note(number: int, frame: FrameType | None) -> None:
        seen.number = number

    former = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield seen
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if seen.number is not None:
        signal.raise_signal(seen.number)
