"""A page in Debian's Chromium, which notes what a self-contained page must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = os.environ.get("PACAVIT_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium: apt-get install chromium, or name another one in PACAVIT_CHROMIUM",
)


class Watched:
    """A page, with the errors it printed and the addresses outside it asked for."""

    def __init__(self, page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and self.errors.append(message.text),
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def outside(self, address: str) -> list[str]:
        """Return requests for anything but the page's own address and data within it."""
        return [
            url
            for url in self.requests
            if not url.startswith(("data:", "blob:")) and not url.startswith(address)
        ]

    def text(self, part: str) -> str:
        return self.page.locator(f"[data-part='{part}']").first.inner_text()

    def pixels(self, part: str) -> str:
        """Return what a canvas shows, as a data address."""
        return self.page.locator(f"[data-part='{part}']").first.evaluate("canvas => canvas.toDataURL()")

    def overflows(self) -> bool:
        """Return whether one has to scroll the whole page sideways."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )


@contextmanager
def chromium() -> Iterator:
    """Start a browser, which takes a second or two, and end it with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # A container's root has no sandbox of its own.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser, address: str, viewport: dict = DESKTOP, scheme: str = "light") -> Iterator[Watched]:
    """Open an address in a window of a size, in light or dark, that shares nothing with others."""
    watched = Watched(browser.new_page(viewport=viewport, color_scheme=scheme))
    try:
        watched.page.goto(address)
        yield watched
    finally:
        watched.page.close()
