from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.languages import group_of_utterance, read_languages
from mlcslm.corpus.identifiers import centiseconds, recording_id, utterance_id

REPOSITORY = Path(__file__).parents[2]
LANGUAGES = read_languages(REPOSITORY / "config" / "languages.tsv")
TIMES = st.floats(0, 9999, allow_nan=False)


@pytest.mark.parametrize(
    ("time", "expected"),
    # In binary 0.29 * 100 is 28.999999999999996, 0.57 * 100 is 56.99999999999999, 1.15 * 100 is 114.99999999999999.
    [(0.29, "000028"), (0.57, "000056"), (1.15, "000114"), (0.3, "000030"), (0.0, "000000"), (3599.996, "360000")],
)
def test_centiseconds_are_rounded_then_truncated_as_in_the_official_scripts(time, expected):
    assert utterance_id("French", "0001_001", "O2", time, time).endswith(f"-{expected}-{expected}")


def test_ids_of_the_published_results():
    assert utterance_id("English-American", "0517_007", "O1", 1.8203, 2.7561) == (
        "English-American-0517_007-O1-000182-000276"
    )
    assert recording_id(LANGUAGES["English-American"], "0517_007") == "American_0517_007"
    assert recording_id(LANGUAGES["French"], "1221_004_phone") == "French_1221_004_phone"


@given(TIMES)
def test_centiseconds_lose_at_most_one_and_a_half(time):
    assert -1.5 <= centiseconds(time) - time * 100 <= 0.5 + 1e-6


@given(TIMES, TIMES)
def test_centiseconds_keep_order(one, other):
    assert (centiseconds(one) <= centiseconds(other)) or one > other


@given(st.sampled_from(sorted(LANGUAGES)), TIMES, TIMES)
def test_an_id_gives_back_its_group(group, start, end):
    assert group_of_utterance(utterance_id(group, "0517_007_phone", "O1", start, end), LANGUAGES) == group


def test_recordings_begin_as_in_the_published_results(published_sums):
    prefixes = {row["group"]: row["recording_prefix"] for row in published_sums(track=2)}
    assert prefixes.keys() == LANGUAGES.keys()
    for group, prefix in prefixes.items():
        assert recording_id(LANGUAGES[group], "0517_007") == f"{prefix}_0517_007"
