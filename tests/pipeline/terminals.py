"""What a program writes to a terminal; it runs behind a pseudo-terminal."""

import os
import pty
import subprocess
import sys


def on_terminal(code: str) -> str:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "MIDAS_PROGRESS": "auto"}
    subprocess.run([sys.executable, "-c", code], stdout=child, env=environment, check=True)
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(parent)
    return shown.decode()
