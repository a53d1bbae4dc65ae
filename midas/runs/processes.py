"""Processes that a process starts beside itself."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """In a process of a pool: end where the process that started it was killed, in place of waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
