"""The report's pages in a browser: what they show, that nothing leaves the folder, colours, narrow windows."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import toy_report

from mlcslm.results.database import open_database

PAGES = ("index", "training", "groups", "decoding", "reasoning", "bounds", "diarization", "utterances")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_from_disk_without_faults_and_without_a_network(look: Any, scheme: str) -> None:
    seen = look(color_scheme=scheme)
    for name in PAGES:
        page = seen.open(f"{name}.html")
        assert page.locator("nav [aria-current]").count() == 1
        assert toy_report.HOSTILE_PRESET in page.title()
        for chart in page.locator(".chart").all() if scheme == "light" else ():
            chart.scroll_into_view_if_needed()
            chart.locator(".main-svg").first.wait_for()
    assert len(seen.requests) > 20
    assert seen.outside() == []
    assert seen.faults == []


def test_tables_show_all_numbers_of_their_views(look: Any, toy_database: Path) -> None:
    page = look().open("index.html")
    with open_database(toy_database) as connection:
        [(names,)] = connection.execute("SELECT list(DISTINCT table_name) FROM rendered_rows").fetchall()
        assert {"table1", "table4", "table6", "table7", "table8"} <= set(names)
        for name in names:
            rows = connection.execute(f"SELECT * FROM {name}").fetchall()
            rendered = page.locator(f"#{name} > .scroll tbody tr:not(.note)")
            assert rendered.count() == len(rows)
            for row, line in zip(rows, rendered.all_inner_texts(), strict=True):
                numbers = [str(value) for value in row if isinstance(value, Decimal)]
                assert [number for number in numbers if number not in line] == []


def test_colours_follow_the_system_and_the_button(look: Any) -> None:
    def background(page: Any) -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = look(color_scheme="light"), look(color_scheme="dark")
    bright, dim = background(light.open("index.html")), background(dark.open("decoding.html"))
    assert sum(map(int, bright[4:-1].split(","))) > 600 > 200 > sum(map(int, dim[4:-1].split(",")))
    page = dark.page
    page.click("#theme")  # as the system has it -> light
    assert background(page) == bright
    text = page.evaluate("getComputedStyle(document.body).color")
    assert page.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill") == text, "charts are redrawn"
    assert background(dark.open("index.html")) == bright, "the choice is kept for other pages"


def test_narrow_windows_scroll_one_way_only(look: Any) -> None:
    seen = look()
    seen.page.set_viewport_size({"width": 390, "height": 800})
    for name in PAGES:
        page = seen.open(f"{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


def test_heat_map_leads_to_the_utterances_of_a_cell(look: Any) -> None:
    seen = look()
    page = seen.open("groups.html")
    page.get_by_title("French: 2 errors in 2 reference tokens").first.click()
    page.wait_for_selector("body[data-ready]")
    assert page.input_value("#group") == "French"
    assert page.locator(".row").count() == 2


def test_timeline_shows_and_plays_a_turn(look: Any) -> None:
    seen = look()
    page = seen.open("diarization.html")
    page.wait_for_selector("#lanes[data-ready=American_01]")
    sources = page.locator("#lanes section")
    assert sources.count() == 5  # the reference and four diarizers
    assert sources.first.locator(".turn").count() == 2
    sources.first.locator(".turn").nth(1).click()
    assert "how are you today my friend" in page.inner_text("#turn")
    page.wait_for_function("() => document.querySelector('audio').currentTime >= 1.5")
    page.select_option("#recording", "Thai_01")
    page.wait_for_selector("#lanes[data-ready=Thai_01]")
    page.locator(".turn").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert "campplus-60" in page.inner_text("#turn")
    assert seen.faults == []
