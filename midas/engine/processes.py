"""Worker processes that a process starts beside itself."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """In a worker: end when the process that started it is killed, and do not wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
