"""SIGTERM and SIGINT in the middle of a step: they take effect once the step's state is saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """The number of the signal that has arrived, or None."""

    number: int | None = None


@contextmanager
def held() -> Iterator[Interruption]:
    """Hold signals back within the block; at its end the former handler receives one that arrived.

    Nothing is held outside the main thread, where Python delivers no signals.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        interruption.number = number

    former = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if interruption.number is not None:
        signal.raise_signal(interruption.number)
