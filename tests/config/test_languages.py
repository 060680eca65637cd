"""The languages table: its contents, and that each mistake in one is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.config.languages import group_of_utterance, read_languages
from mlcslm.errors import UserError

TABLE = Path(__file__).parents[2] / "config" / "languages.tsv"
HEADER = "group\tfolder\tlanguage\ttoken\tunit\tprompt\n"
FRENCH = "French\tFrench\tfr\t<LANG_FR>\tword\tTranscrivez\n"


def languages_table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "languages.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_tasks_fifteen_groups_in_eleven_languages() -> None:
    groups = read_languages(TABLE)
    assert len(groups) == 15
    assert len({group.language for group in groups.values()}) == len({group.token for group in groups.values()}) == 11
    # The task description: word error rate, but character error rate for Japanese, Korean and Thai.
    assert {g.language for g in groups.values() if g.unit == "character"} == {"ja", "ko", "th"}
    assert [g for g in groups if g.startswith("English")] == [
        f"English-{accent}" for accent in ("American", "Australian", "British", "Filipino", "Indian")
    ]
    assert groups["English-Indian"].folder == "English/Indian"


def test_track_2_names_begin_with_the_accent_or_else_the_language() -> None:
    groups = read_languages(TABLE)
    assert (groups["English-British"].recording_prefix, groups["Thai"].recording_prefix) == ("British", "Thai")


def test_a_table_keeps_its_order_and_its_quotes(tmp_path: Path) -> None:
    groups = read_languages(languages_table(tmp_path, f'{HEADER}Thai\tThai\tth\t<LANG_TH>\tcharacter\t"ก" ข\n{FRENCH}'))
    assert list(groups) == ["Thai", "French"]
    assert groups["Thai"].prompt == '"ก" ข'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "languages.tsv:1: found columns []"),
        ("group\tfolder\n", "languages.tsv:1: found columns ['group', 'folder'], expected ['group', 'folder', 'lang"),
        (HEADER + FRENCH + "Thai\tThai\tth\n", "languages.tsv:3: found 3 columns, expected 6"),
        (HEADER + FRENCH.replace("word", "Word"), "languages.tsv:2: unit is 'Word', expected 'word' or 'character'"),
        (HEADER + FRENCH + FRENCH, "languages.tsv:3: group 'French' is listed twice"),
        (HEADER, "languages.tsv: no groups; expected one per line"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        read_languages(languages_table(tmp_path, text))
    assert expected in str(error.value)


def test_a_table_that_is_missing_or_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.tsv: no such file"):
        read_languages(tmp_path / "no.tsv")
    (tmp_path / "latin.tsv").write_bytes((HEADER + FRENCH.replace("Transcrivez", "Notez ça")).encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.tsv: .*UTF-8"):
        read_languages(tmp_path / "latin.tsv")


def test_an_ids_group_is_its_longest_prefix() -> None:
    groups = read_languages(TABLE)
    assert group_of_utterance("English-British-0603_001-O1-000182-000276", groups) == "English-British"
    assert group_of_utterance("Thai-0603_001-O1-000182-000276", groups) == "Thai"
    with pytest.raises(UserError, match="Thailand-1: the id begins with no group"):
        group_of_utterance("Thailand-1", groups)
