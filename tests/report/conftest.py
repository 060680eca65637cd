"""A report of the toy corpus, and Chromium to look at it; without a browser its tests are skipped."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import toy_report

sys.path.remove(str(Path(__file__).parent))

from mlcslm.report.build import build_report

PATIENCE_MS = 120_000  # on a machine that has much else to do
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def toy_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_report.build(tmp_path_factory.mktemp("report-toy"))


@pytest.fixture(scope="session")
def report(toy_database: Path) -> Path:
    """The report's folder."""
    out = toy_database.parent / "report"
    build_report(toy_database, out)
    return out


@dataclass
class Look:
    """A page of the report in the browser, with its requests and errors."""

    page: Any
    folder: Path
    requests: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def open(self, file: str) -> Any:
        """Open a page of the report, whole with its data; returns it."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.folder.as_uri()}/{file}")
        if file.startswith("utterances.html"):
            self.page.wait_for_selector("body[data-ready]")
        return self.page

    def settle(self, act: Callable[[], Any]) -> None:
        """Do something that filters, and wait for the list to be redrawn."""
        before = self.page.evaluate("document.body.dataset.ready")
        act()
        self.page.wait_for_function("before => document.body.dataset.ready !== before", arg=before)

    def outside(self) -> list[str]:
        """Requests that left the report's folder."""
        return [url for url in self.requests if not url.startswith((f"{self.folder.as_uri()}/", "data:", "about:"))]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def window(browser: Any) -> Iterator[Any]:
    """A window for all tests that ask for nothing special."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def look(browser: Any, window: Any, report: Path) -> Iterator[Callable[..., Look]]:
    """Makes looks at the report: `look()`, or with settings of the browser's window."""
    contexts, pages = [], []

    def make(folder: Path = report, **settings: Any) -> Look:
        if settings:
            contexts.append(browser.new_context(**settings))
        context = contexts[-1] if settings else window
        found = Look(context.new_page(), folder)
        pages.append(found.page)
        found.page.set_default_timeout(PATIENCE_MS)
        found.page.set_viewport_size({"width": 1400, "height": 900})
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.on("pageerror", lambda error: found.faults.append(str(error)))
        found.page.on("console", lambda line: line.type == "error" and found.faults.append(line.text))
        found.page.on("dialog", lambda dialog: (found.faults.append(dialog.message), dialog.dismiss()))
        return found

    yield make
    for opened in (*pages, *contexts):
        opened.close()
