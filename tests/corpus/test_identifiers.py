from __future__ import annotations

import csv
import gzip
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.languages import group_of_utterance, read_languages
from mlcslm.corpus.identifiers import centiseconds, recording_id, utterance_id

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MLCSLM_SHARED", REPOSITORY.parent / "shared"))
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


@pytest.mark.skipif(not (SHARED / "published").is_dir(), reason="the published results are not at MLCSLM_SHARED")
def test_recordings_of_the_published_utterances_are_the_published_recordings():
    def rows(name: str) -> list[dict[str, str]]:
        with gzip.open(SHARED / "published" / name, "rt", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    recordings = set()
    for row in rows("mlcslm_dev_baseline_qwen_wer.csv.gz"):
        session = re.fullmatch(r"(.*)-O[12]-\d+-\d+", row["utterance_id"])[1].removeprefix(f"{row['group']}-")
        recordings.add(recording_id(LANGUAGES[row["group"]], session))
    published = {row["recording_id"] for row in rows("mlcslm_dev_baseline_tcpwer.csv.gz")}
    assert len(published) > 100
    assert recordings == published
