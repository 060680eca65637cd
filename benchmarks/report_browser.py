"""How fast the report's error browser responds in Chromium."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median
from typing import Any

from mlcslm.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Changes a control as a user would and waits for the list to be painted; returns milliseconds.
CHANGE = """async ([id, value]) => {
  const control = document.getElementById(id), before = document.body.dataset.ready, begin = performance.now();
  control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
  while (document.body.dataset.ready === before) await new Promise((done) => setTimeout(done, 1));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - begin;
}"""


def measure_browser(report: Path, rounds: int = 3) -> dict[str, Any]:
    """Seconds until the utterance page is usable, and of each filter: medians over rounds.

    `first_page` is `index.html`. Text search is timed from the key press, including the pause before it searches.
    Raises UserError if there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise UserError(f"Found no browser, expected one of: {', '.join(BROWSERS)} (Debian: apt-get install chromium).")
    times: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for _ in range(rounds):
            page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            page.goto((report / "index.html").as_uri())
            _note(times, "first_page", page.evaluate("performance.now()"))
            page.goto((report / "utterances.html").as_uri())
            page.wait_for_selector("body[data-ready] .row")
            _note(times, "utterances_usable", page.evaluate("performance.now()"))
            systems = page.eval_on_selector_all("#system-a option", "options => options.map((one) => one.value)")
            groups = page.eval_on_selector_all("#group option", "options => options.map((one) => one.value)")
            for name, control, value in (
                ("filter_group", "group", groups[-1]),
                ("filter_all_groups", "group", ""),
                ("filter_errors", "errors-from", "3"),
                ("filter_text", "search", "ba"),
                ("clear_text", "search", ""),
                ("order", "order", "rate"),
                ("other_system", "system-a", systems[-1]),
                ("second_system", "system-b", systems[0]),
                ("filter_change", "change", "worse"),
            ):
                _note(times, name, page.evaluate(CHANGE, [control, value]))
            page.context.close()
        browser.close()
    return {f"{name}_seconds": round(median(values) / 1000, 3) for name, values in times.items()}


def _note(times: dict[str, list[float]], name: str, milliseconds: float) -> None:
    times.setdefault(name, []).append(milliseconds)
