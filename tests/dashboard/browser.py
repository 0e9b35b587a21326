"""Debian's Chromium, driven from outside."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.async_api import Browser, Page, async_playwright

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
"""What the tests saw: kept by whoever runs them, not by git."""
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = ("serious", "critical")


def cannot(why: str) -> NoReturn:
    """Skip on a machine without; fail where nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"{why} In CI the browser is never left out.")
    pytest.skip(why)


def axe() -> str:
    """The script that looks for barriers."""
    if not AXE.exists():
        npm = shutil.which("npm")
        if npm is None:
            cannot("There is no npm to install axe-core with.")
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, timeout=240, check=False)
        if done.returncode:
            cannot("npm could not install axe-core.")
    return AXE.read_text()


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser that ends with the block."""
    found = shutil.which("chromium")
    if found is None:
        cannot("There is no chromium on this machine.")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """A page, and everything it did that it should not."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self._address = address
        page.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    def _asked(self, url: str) -> None:
        if not url.startswith((self._address + "/", "data:")):
            self.faults.append(f"asked {url}")

    async def open(self, path: str) -> None:
        await self.page.goto(self._address + path, wait_until="load")

    async def barriers(self) -> list[str]:
        """What axe-core calls serious or critical."""
        await self.page.evaluate(axe())
        found = await self.page.evaluate("axe.run().then((result) => result.violations)")
        return [
            f"{one['id']}: {one['nodes'][0]['html'][:200]}"
            for one in found
            if one["impact"] in SERIOUS
        ]

    async def picture(self, name: str) -> None:
        PICTURES.mkdir(exist_ok=True)
        await self.page.screenshot(path=PICTURES / f"{name}.png")
