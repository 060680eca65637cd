"""The page on words: its data against the database, and in the browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow


def data(report: Path, key: str) -> Any:
    """A data file's value."""
    text = (report / "data" / f"{key}.js").read_text(encoding="utf-8")
    found = re.fullmatch(r"mlcslm\.put\('.*?', '(.*)'\);\n", text, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace("\\'", "'").replace("\\\\", "\\"))


def test_data_are_those_of_the_views(report: Path, toy_database: Path) -> None:
    index = data(report, "dev/words")
    systems = [system["name"] for system in data(report, "splits")["dev"]["systems"]]
    with open_database(toy_database) as connection:
        for place, system in enumerate(systems):
            found = data(report, f"dev/{place}/words")
            wrong = {
                (index["groups"][index["group"][row]], index["word"][row]): count
                for row, count in enumerate(found["wrong"])
                if count
            }
            query = "SELECT grp, word, wrong FROM words WHERE system = ? AND split = 'dev' AND wrong > 0"
            rows = connection.execute(query, [system]).fetchall()
            assert wrong == {(group, word): count for group, word, count in rows}
            query = "SELECT sum(count) FROM confusions WHERE system = ? AND split = 'dev'"
            ((total,),) = connection.execute(query, [system]).fetchall()
            assert sum(count for *_, count in found["confusions"]) == (total or 0)


def test_two_systems_side_by_side(look: Callable[..., Any]) -> None:
    browser = look()
    page = browser.open("words.html#split=dev&a=ckpt-4000%2Fgreedy&b=ckpt-7000%2Fgreedy&order=change")
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#words thead th").all_inner_texts()[-3:] == ["wrong in A", "in B", "B − A"]
    rows = page.locator("#words tbody tr")
    assert rows.count() > 1
    ready = page.evaluate("document.body.dataset.ready")
    page.select_option("#group", "French")
    page.wait_for_function("before => document.body.dataset.ready !== before", arg=ready)
    french = page.locator("#words tbody tr")
    assert 0 < french.count() < rows.count() or french.count() >= 1
    assert "group=French" in page.url
    assert not browser.faults
    assert not browser.outside()
    french.first.locator("a").click()
    page.wait_for_selector("#list")
    assert "utterances.html#split=dev" in page.url
    assert not browser.faults
