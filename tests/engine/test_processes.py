"""Workers end with the process that started them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SCRIPT = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from time import sleep
from midas.engine.distributed import end_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_parent)
    pool.submit(int).result()
    print("ready", flush=True)
    sleep(600)
"""


def test_a_worker_ends_where_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(
        worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers
    ):
        assert time.monotonic() < deadline, "a worker waits for ever"
        time.sleep(0.1)
