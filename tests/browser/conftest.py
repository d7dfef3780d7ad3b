"""A real browser: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fxprof.report import Report
from tests.browser.models import counted

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Dialog, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
Open = Callable[..., "Page"]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. Where it is missing the tests are skipped, but in CI they fail."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        said = f"no {' or '.join(NAMES)} on the PATH: install one, on Debian with apt-get install chromium"
        pytest.fail(said) if os.environ.get("CI") else pytest.skip(said)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its own shared memory is too small in a container.
        browser = playwright.chromium.launch(executable_path=found, args=["--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the text of a page; afterwards nothing may have been fetched, and nothing complained about."""
    trouble: list[str] = []
    contexts: list[BrowserContext] = []
    own = {"data:,"}  # the empty icon

    def refuse(dialog: Dialog) -> None:
        trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def opened(text: str, **options: object) -> Page:
        path = tmp_path / f"page-{len(contexts)}.html"
        own.add(path.as_uri())
        path.write_text(text, encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1320, "height": 900}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("dialog", refuse)
        page.on("request", lambda request: trouble.append(request.url))
        page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [line for line in trouble if line not in own] == []


@pytest.fixture(scope="package")
def resnet() -> Report:
    """ResNet-50 at 224 x 224."""
    return counted("resnet50")


@pytest.fixture(scope="package")
def swin() -> Report:
    """Swin-T at 224 x 224."""
    return counted("swin_t")


@pytest.fixture(scope="package")
def llm() -> Report:
    """Eighty decoder layers at 2,048 tokens."""
    return counted("llm")
