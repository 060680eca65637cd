from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.rttm import read_rttm, write_rttm
from mlcslm.formats.segments import Segment

FILE = """\
;; a comment
SPKR-INFO French_1 1 <NA> <NA> <NA> unknown O1 <NA> <NA>

SPEAKER French_1 1 0.10 0.20 <NA> <NA> O1 <NA> <NA>
SPEAKER French_1 1 0.15 0.20 <NA> <NA> O1 <NA> <NA>
SPEAKER French_2 1 3 0 <NA> <NA> O2 <NA>
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.rttm"


def test_reads_turns_by_recording_with_ends_that_are_decimal_sums(path: Path):
    path.write_text(FILE)
    assert read_rttm(path) == {
        "French_1": [Segment(0.1, 0.3, "O1"), Segment(0.15, 0.35, "O1")],
        "French_2": [Segment(3.0, 3.0, "O2")],
    }


MICROSECONDS = st.integers(0, 10**10).map(lambda count: count / 10**6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(MICROSECONDS, MICROSECONDS, st.sampled_from(["O1", "2", "Zoë"])), max_size=6))
@pytest.mark.slow
def test_reading_gives_back_what_was_written(tmp_path_factory, turns):
    path = tmp_path_factory.mktemp("rttm") / "x.rttm"
    segments = sorted(Segment(min(a, b), max(a, b), speaker) for a, b, speaker in turns)
    write_rttm(path, {"French_1": reversed(segments), "Thai_1": []})
    assert read_rttm(path) == ({"French_1": segments} if segments else {})


def test_a_segment_of_8_s_is_one_of_8_s_whatever_its_start(path: Path):
    # In floating point 16.1 + 8 - 16.1 is 8.000000000000002, longer than a detector's limit.
    write_rttm(path, {"French_1": [Segment(16.1, 16.1 + 8, "O1")]})
    assert path.read_text() == "SPEAKER French_1 1 16.100 8.000 <NA> <NA> O1 <NA> <NA>\n"


def test_all_faults_are_named_by_line(path: Path):
    path.write_bytes(
        b"SPEAKER French_1 1 0.1 0.2 <NA> <NA>\n"
        b"TURN French_1 1 0.1 0.2 <NA> <NA> O1 <NA> <NA>\n"
        b"SPEAKER French_1 1 nan 0.2 <NA> <NA> O1 <NA> <NA>\n"
        b"SPEAKER French_1 1 0.1 two <NA> <NA> O1 <NA> <NA>\n"
        b"SPEAKER French_1 1 -1 0.2 <NA> <NA> O1 <NA> <NA>\n"
        b"SPEAKER French_1 1 0.1 -0.2 <NA> <NA> O1 <NA> <NA>\n"
        b"SPEAKER French_1 1 0.1 0.2 <NA> <NA> \xff <NA> <NA>\n"
        b"SPEAKER French_1 1 0.1 0.2 <NA> <NA> O1 <NA> <NA>\n"
    )
    with pytest.raises(FaultyInput) as caught:
        read_rttm(path)
    for number, fault in enumerate(
        [
            "found 7 fields, expected 10",
            "found a line of type 'TURN', expected SPEAKER",
            "found the start 'nan', expected a time",
            "found the end '0.1 + two', expected a time",
            "found the start -1 s, expected 0 or later",
            "found the duration '-0.2', expected 0 s or more",
            "found byte 0xff at column 38, expected UTF-8",
        ],
        start=1,
    ):
        assert any(f"{path}:{number}: {fault}" in line for line in caught.value.faults), fault
    assert len(caught.value.faults) == 7


def test_what_cannot_be_written_is_refused(path: Path):
    for recording, segment in (
        ("French 1", Segment(0, 1, "O1")),
        ("French_1", Segment(0, 1, "")),
        ("French_1", Segment(1, 0, "O1")),
        ("French_1", Segment(0, float("nan"), "O1")),
    ):
        with pytest.raises(ValueError, match=r"x.rttm: .* expected"):
            write_rttm(path, {recording: [segment]})
    assert not path.exists()
    with pytest.raises(UserError, match=r"x.rttm: no such file. Expected an RTTM file"):
        read_rttm(path)


def test_a_turn_without_duration_may_have_many_decimals(tmp_path: Path) -> None:
    path = tmp_path / "a.rttm"
    path.write_text("SPEAKER a 1 1.68027388648 0 <NA> <NA> A <NA> <NA>\n")
    assert read_rttm(path) == {"a": [Segment(1.68027388648, 1.68027388648, "A")]}
