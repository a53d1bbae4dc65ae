"""A page in headless Chromium: how wide it is, what its console and its network saw, and what axe-core finds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest

GRAVE = {"serious", "critical"}


@dataclass
class Seen:
    """What a browser said of a page."""

    width: int
    height: int
    console: list[str]
    requests: list[str]
    faults: list[dict[str, Any]]


@contextmanager
def browser() -> Iterator[Any]:
    """The machine's own Chromium under Playwright; a test that asks for it is skipped where one of them is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (chromium := which("chromium") or which("google-chrome")) is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def look(opened: Any, path: Path, width: int, scheme: str, picture: Path | None = None) -> Seen:
    """Open a page as it is, its own policy in force; `picture` is where a screenshot of it goes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    console, requests = [], []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    size = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    if picture:
        page.screenshot(path=picture, full_page=True)
    faults = axe.Axe().run(page).response["violations"]
    page.close()
    outside = [url for url in requests if url != path.as_uri() and not url.startswith("data:")]
    return Seen(*size, console, outside, [{**fault, "nodes": len(fault["nodes"])} for fault in faults])
