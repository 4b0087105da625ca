"""A real Chromium, the system's, and a demo to look at. Without a Chromium these tests are skipped with the reason."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright

from tests.support.demo import Demo

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    async with Demo(tmp_path) as demo:
        yield demo


@pytest.fixture
async def page(demo: Demo) -> AsyncIterator[Page]:
    """The status page, once it is live. A script error, or a console message that is one, fails the test."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    faults: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        try:
            page = await browser.new_page(viewport={"width": 1100, "height": 1000})
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda line: faults.append(line.text) if _is_fault(line) else None)
            await page.goto(demo.url("admin") + "/")
            await page.locator("#link.live").wait_for()
            yield page
        finally:
            await browser.close()
    assert not faults


def _is_fault(line: ConsoleMessage) -> bool:
    """A proxy that is gone is told by the page itself, and by Chromium beside it."""
    return line.type == "error" and not line.text.startswith("Failed to load resource")
