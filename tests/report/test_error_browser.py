"""The error browser in a browser: every filter against a query of the database, comparing, listening, the keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import toy_report

from mlcslm.results.database import open_database

BEST, OTHER = toy_report.BEST, toy_report.OTHER
REFLECTING = "ckpt-10000/greedy"


def address(**state: str) -> str:
    return f"utterances.html#{urlencode({'split': 'dev', **state})}"


def ids(page: Any) -> list[str]:
    return page.locator(".row .id").all_inner_texts()


@pytest.fixture
def ask(toy_database: Path):
    def ask(sql: str, *values: str) -> list[str]:
        with open_database(toy_database) as connection:
            return [row[0] for row in connection.execute(sql, list(values)).fetchall()]

    return ask


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({}, "true"),
        ({"group": "French"}, "c.grp = 'French'"),
        ({"from": "1"}, "c.errors >= 1"),
        ({"from": "1", "to": "1"}, "c.errors = 1"),
        ({"to": "0"}, "c.errors = 0"),
        ({"text": "MORNING"}, "u.text ILIKE '%morning%'"),
        ({"text": "drop table"}, "u.text ILIKE '%drop table%' OR h.transcript ILIKE '%drop table%'"),
        ({"text": "Thai-01"}, "u.utterance_id LIKE 'Thai-01%'"),
        ({"split": "test"}, "true"),
        ({"flags": "6"}, "h.language <> g.token"),
    ],
)
def test_filters_of_one_system(look: Any, ask: Any, state: dict[str, str], where: str) -> None:
    page = look().open(address(a=BEST, **state))
    expected = ask(
        "SELECT utterance_id FROM primary_counts AS c JOIN utterances AS u USING (split, utterance_id) "
        "JOIN groups AS g ON g.grp = c.grp JOIN hypotheses AS h USING (system, split, utterance_id) "
        f"WHERE c.system = ? AND split = ? AND ({where}) ORDER BY c.errors DESC, u.rowid",
        BEST,
        state.get("split", "dev"),
    )
    assert expected
    assert ids(page) == expected


@pytest.mark.parametrize(
    ("system", "flag", "where"),
    [
        ("baseline-2/greedy", "loop", 'h."loop"'),
        ("baseline-2/greedy", "cut", "h.stop_reason = 'length'"),
        ("baseline-2/greedy", "malformed", "h.stop_reason = 'malformed'"),
        (REFLECTING, "corrected", "r.first_errors > 0 AND r.final_errors = 0"),
        (REFLECTING, "nearer", "r.final_errors > 0 AND r.final_errors < r.first_errors"),
        (REFLECTING, "made worse", "r.final_errors > r.first_errors"),
        (OTHER, "no answer", "trim(h.transcript) = ''"),
    ],
)
def test_flags(look: Any, ask: Any, system: str, flag: str, where: str) -> None:
    expected = ask(
        "SELECT utterance_id FROM hypotheses AS h LEFT JOIN reflections AS r USING (system, split, utterance_id) "
        f"WHERE system = ? AND split = 'dev' AND ({where}) ORDER BY utterance_id",
        system,
    )
    seen = look()
    page = seen.open(address(a=system))
    chip = page.locator(".chip", has=page.get_by_text(flag, exact=True))
    assert chip.locator("b").inner_text() == str(len(expected))
    seen.settle(chip.click)
    assert sorted(ids(page)) == expected
    assert page.locator(".row .flag", has_text=flag).count() == len(expected) > 0


@pytest.mark.parametrize(("change", "where"), [("better", "b.errors < a.errors"), ("worse", "b.errors > a.errors")])
def test_two_systems_side_by_side(look: Any, ask: Any, change: str, where: str) -> None:
    expected = ask(
        "SELECT a.utterance_id FROM primary_counts AS a JOIN primary_counts AS b USING (split, utterance_id) "
        f"WHERE a.system = '{BEST}' AND b.system = '{OTHER}' AND split = 'dev' AND {where}"
    )
    seen = look()
    page = seen.open(address(a=BEST))
    assert not page.locator("#change").is_visible()
    seen.settle(lambda: page.select_option("#system-b", OTHER))
    seen.settle(lambda: page.select_option("#change", change))
    assert sorted(ids(page)) == sorted(expected)
    # Of ckpt-7000 and ckpt-4000 on dev: 4 and 9 errors in 20 tokens.
    page.wait_for_function("() => document.getElementById('summary').textContent.includes('points, p = ')")
    [difference] = ask(
        f"SELECT difference FROM comparisons WHERE system_a = '{OTHER}' AND system_b = '{BEST}' AND "
        "split = 'dev' AND grp = 'all'"
    )
    assert f"second − first, all: {-difference:.2f} points" in page.inner_text("#summary")
    if expected:
        page.locator(".row").first.click()
        page.wait_for_selector(".answer >> nth=1")
        assert page.locator(".answer h3").all_inner_texts()[0].startswith(BEST)
    seen.settle(lambda: page.keyboard.press("s"))
    assert (page.input_value("#system-a"), page.input_value("#system-b")) == (OTHER, BEST)


def test_alignment_is_that_of_the_counts(look: Any) -> None:
    seen = look()
    page = seen.open(address(a=BEST, text="my friend"))
    page.keyboard.press("j")
    page.wait_for_selector(".answer")
    units = [tuple(text.split("\n")) for text in page.locator(".unit").all_inner_texts()]
    assert units == [*((word, word) for word in ("how", "are", "you", "today", "my")), ("friend", "∅")]
    assert page.locator(".unit.del").count() == page.locator(".line .del").count() == 1
    assert "1 error in 6" in page.inner_text(".answer")
    seen.settle(lambda: page.fill("#search", "bonjour"))
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.wait_for_function("() => document.querySelector('.answer')?.innerText.includes('1 inserted')")
    assert page.locator(".unit.ins").inner_text().split("\n") == ["∅", "madame"]


def test_hostile_transcripts_are_text_everywhere(look: Any) -> None:
    seen = look()
    page = seen.open(address(a=BEST, b=OTHER, text="drop table", order="corpus"))
    title = page.title()
    page.keyboard.press("j")
    page.wait_for_selector(".answer >> nth=1")
    page.get_by_text("as the model wrote it").first.click()
    for place in ("#list", ".reference", ".think >> nth=0", "pre >> nth=0", ".around"):
        text = page.locator(place).inner_text()
        assert "drop table utterances" in text.lower()
        assert "<script>document.title='run'</script>" in text or place == "#list"
        assert "=hyperlink(" in text.lower()
        assert "RLM" in text, "the mark is named where it stands"
    assert page.title() == title
    assert page.locator("main script, main img").count() == 0
    assert seen.faults == [] and seen.outside() == []


def test_player_plays_the_utterance_and_stops_at_its_end(look: Any) -> None:
    seen = look()
    page = seen.open(address(a=BEST, group="English-American", order="corpus"))
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.wait_for_selector(".answer")
    page.keyboard.press(" ")  # 1.5 s to 4.5 s
    page.wait_for_selector(".title .play.on")
    audio = "document.getElementById('audio')"
    assert page.evaluate(f"{audio}.src").endswith(".flac")
    page.evaluate(f"{audio}.playbackRate = 4")
    times = page.evaluate(f"[{audio}.currentTime, {audio}.duration]")
    assert 1.45 <= times[0] <= 4.5 and times[1] == pytest.approx(10.0)
    page.wait_for_function(f"() => {audio}.paused")
    assert page.evaluate(f"{audio}.currentTime") == pytest.approx(4.5, abs=0.05)
    page.wait_for_selector(".title .play:not(.on)")
    page.keyboard.press("p")
    page.wait_for_selector(".title .play.on")
    page.keyboard.press("p")
    assert page.evaluate(f"{audio}.paused")
    assert seen.faults == []


def test_keyboard_alone_will_do(look: Any) -> None:
    seen = look()
    page = seen.open(address(a=BEST, order="corpus"))
    first, *_, last = ids(page)
    for key, expected in (("j", first), ("End", last), ("Home", first), ("PageDown", last), ("k", ids(page)[-2])):
        page.keyboard.press(key)
        assert page.locator(".row.selected .id").inner_text() == expected
    assert page.get_attribute("#list", "aria-activedescendant") == page.locator(".row.selected").get_attribute("id")
    page.keyboard.press("/")
    seen.settle(lambda: page.keyboard.type("x y"))
    assert page.input_value("#search") == "x y", "keys go into the field while it is written in"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert "No utterance fits" in page.evaluate("getComputedStyle(document.getElementById('rows'), '::after').content")
    seen.settle(lambda: page.click("#clear"))
    assert len(ids(page)) == 6


def test_address_brings_back_what_was_looked_at(look: Any) -> None:
    seen = look()
    page = seen.open(address(a=BEST, b=OTHER, group="Thai"))
    page.keyboard.press("j")
    page.wait_for_selector(".answer")
    rendered, url = page.inner_text(".detail h2"), page.url
    again = look()
    again.page.goto(url)
    again.page.wait_for_selector(".answer >> nth=1")
    assert again.page.inner_text(".detail h2") == rendered
    assert again.page.input_value("#group") == "Thai"
    again.settle(lambda: again.page.evaluate("() => { location.hash = 'split=test&group=French'; }"))
    assert again.page.input_value("#group") == "French"
    assert ids(again.page) == ["French-02-O2-000000-000200"]


def test_narrow_window_shows_list_and_utterance_in_turn(look: Any) -> None:
    seen = look()
    seen.page.set_viewport_size({"width": 390, "height": 800})
    page = seen.open(address(a=BEST))
    assert page.locator("#list").is_visible() and not page.locator("#detail").is_visible()
    page.locator(".row").first.click()
    page.wait_for_selector(".answer")
    assert page.locator("#detail").is_visible() and not page.locator("#list").is_visible()
    page.click(".back")
    assert page.locator("#list").is_visible() and not page.locator("#detail").is_visible()
