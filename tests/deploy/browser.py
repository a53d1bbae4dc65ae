"""A real headless Chromium, driven over its DevTools protocol."""

import asyncio
import base64
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds to wait for anything
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder over http; its address."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Page:
    """One open page."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command of the protocol and return its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        message: dict[str, Any] = {}
        while message.get("id") != self._number:
            message = await self._socket.receive_json(timeout=PATIENCE)
        assert "error" not in message, message
        return dict(message["result"])

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The value of an expression once it is true."""
        for _ in range(PATIENCE * 20):
            if value := await self.evaluate(expression):
                return value
            await asyncio.sleep(0.05)
        raise AssertionError(
            f"{expression} did not become true; the page says: {await self.status()}"
        )

    async def status(self) -> str:
        """The text of the page's status line."""
        return str(await self.evaluate("document.getElementById('status')?.textContent"))

    async def choose(self, file: Path) -> None:
        """Choose a file in the page's dialogue, and wait for the page's answer."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector="#file"))["nodeId"]
        await self.evaluate("document.getElementById('status').textContent = ''")
        await self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])
        await self.until("/ ms$|cannot/.test(document.getElementById('status').textContent)")

    async def screenshot(self, path: Path) -> None:
        """Write an image of the page."""
        data = (await self.call("Page.captureScreenshot"))["data"]
        path.write_bytes(base64.b64decode(data))


@asynccontextmanager
async def opened(address: str, profile: Path) -> AsyncIterator[Page]:
    """A page in a new browser."""
    import aiohttp

    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--window-size=560,760",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://127.0.0.1:{port}/json/new?{address}") as response:
                target = (await response.json())["webSocketDebuggerUrl"]
            async with session.ws_connect(target, max_msg_size=0) as socket:
                page = Page(socket)
                await page.until("document.readyState === 'complete'")
                yield page
    finally:
        process.terminate()
        process.wait(PATIENCE)


async def _port(file: Path) -> int:
    """The port that the browser writes once it listens."""
    for _ in range(PATIENCE * 20):
        if file.is_file() and (lines := file.read_text().split()):
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")
