"""Makes the README's table and the pictures of the pages from one run: `make pictures` after `make tables`.

Writes the README's table, the pictures in `docs/images` and `docs/images/figures.json`, the table's numbers and the
pictures' hashes, by which tests/test_pictures.py checks that all are of the same run.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import typer

from mlcslm.errors import UserError
from mlcslm.report.build import build_report
from mlcslm.results.database import open_database

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
FIGURES = IMAGES / "figures.json"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START, END = "<!-- demo table -->", "<!-- end of demo table -->"
# By picture: page of the report with its state, and the window's width and height in pixels.
PICTURES = {
    "report-tables": ("index.html", 1280, 900),
    "report-training": ("training.html", 1280, 900),
    "report-groups": ("groups.html", 1280, 900),
    "report-decoding": ("decoding.html", 1280, 900),
    "report-diarization": ("diarization.html", 1280, 900),
    "report-utterances": ("utterances.html#split=dev&a=ckpt-7000/greedy&b=ckpt-10000/greedy", 1280, 900),
    "report-narrow": ("utterances.html#split=dev&a=ckpt-10000/greedy", 420, 800),
}


def table_6(database: Path) -> list[dict[str, Any]]:
    """Rows of Table 6: labels and, by split, the rate, its interval and the published rate, in percent."""
    with open_database(database) as connection:
        cursor = connection.execute("SELECT * FROM table6")
        columns = [column[0] for column in cursor.description]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return [{name: None if value is None else str(value) for name, value in row.items()} for row in rows]


def readme_table(rows: list[dict[str, Any]]) -> str:
    """The README's table: `rate [low, high]` and the published rate for each split."""
    lines = [
        "| checkpoint | method | dev | dev published | test | test published |",
        "|:---|:---|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [row["checkpoint"], row["method"]]
        for split in ("dev", "test"):
            cells += [_rate(row, split), row[f"{split}_published"] or ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rate(row: dict[str, Any], split: str) -> str:
    rate, low, high = (row[f"{split}{end}"] for end in ("", "_low", "_high"))
    return rate or "not measured" if low is None else f"{rate} [{low}, {high}]"


def write_readme(rows: list[dict[str, Any]], readme: Path = ROOT / "README.md") -> None:
    """Replace the table between the README's two marks."""
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(f"{START}.*?{END}", re.DOTALL)
    if not pattern.search(text):
        raise UserError(f"{readme}: expected the marks {START} and {END} around the table.")
    readme.write_text(pattern.sub(lambda _: f"{START}\n{readme_table(rows)}\n{END}", text), encoding="utf-8")


def take_pictures(database: Path, images: Path) -> list[str]:
    """Write a screenshot of each page that the run's report has, and return their names. Needs Chromium."""
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise UserError(f"No browser found; expected one of: {', '.join(BROWSERS)} (Debian: apt-get install chromium).")
    written = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        build_report(database, Path(folder) / "report", audio=False)
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, (address, width, height) in PICTURES.items():
            page_file = Path(folder) / "report" / address.split("#")[0]
            if not page_file.exists():
                continue
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.goto(page_file.as_uri() + address.removeprefix(page_file.name))
            if page_file.name == "utterances.html":
                page.wait_for_selector("body[data-ready] .row")
                page.locator(".row").first.click()
            page.wait_for_timeout(500)
            page.screenshot(path=str(images / f"{name}.png"))
            written.append(name)
        browser.close()
    return written


def main(database: Path = Path("results/results.duckdb")) -> None:
    """Write the README's table, the pictures and `figures.json` from one run's DATABASE."""
    try:
        rows = table_6(database)
        pictures = take_pictures(database, IMAGES)
        write_readme(rows)
    except UserError as error:
        sys.exit(str(error))
    hashes = {name: hashlib.sha256((IMAGES / f"{name}.png").read_bytes()).hexdigest() for name in pictures}
    FIGURES.write_text(json.dumps({"table6": rows, "pictures": hashes}, indent=1) + "\n", encoding="utf-8")
    typer.echo(f"Wrote README.md's table and {len(pictures)} pictures from {database}")


if __name__ == "__main__":
    typer.run(main)
