"""Visits to a page in headless Chromium: its width, its console, its requests, and axe-core."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest

SEVERE = {"serious", "critical"}  # impacts of violations, in the words of axe-core


@dataclass
class Visit:
    """What a browser reports about a page; `violations` are those of accessibility."""

    width: int
    height: int
    console: list[str]
    requests: list[str]
    violations: list[dict[str, Any]]

    def severe_violations(self) -> list[str]:
        return [each["id"] for each in self.violations if each["impact"] in SEVERE]


@contextmanager
def browser() -> Iterator[Any]:
    """The machine's Chromium under Playwright; skips the test if either is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = which("chromium") or which("google-chrome")
    if chromium is None:
        pytest.skip("neither chromium nor google-chrome is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


def visit(
    opened: Any, path: Path, width: int, scheme: str, screenshot: Path | None = None
) -> Visit:
    """Open a page with its own security policy in force, and save a screenshot if asked to."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    console = []
    requests = []
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    size = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    if screenshot:
        page.screenshot(path=screenshot, full_page=True)
    violations = axe.Axe().run(page).response["violations"]
    page.close()
    outside = [url for url in requests if url != path.as_uri() and not url.startswith("data:")]
    return Visit(*size, console, outside, violations)
