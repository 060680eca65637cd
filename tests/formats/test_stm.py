from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.io.seglst import SegLST
from meeteval.io.stm import STM

from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.seglst import read_seglst, write_seglst
from mlcslm.formats.segments import Utterance, by_recording
from mlcslm.formats.stm import read_stm, write_stm

TIMES = st.floats(0, 1e5)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=5).filter(
    lambda name: len(name.split()) == 1 and not name.startswith(";;") and "\ufeff" not in name
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def utterances(draw: st.DrawFn) -> list[Utterance]:
    """Utterances of any times, overlapping ones and empty ones among them."""
    drawn = draw(st.lists(st.tuples(NAMES, NAMES, TIMES, TIMES, TEXTS), max_size=5))
    return [Utterance(name, who, min(a, b), max(a, b), " ".join(text.split())) for name, who, a, b, text in drawn]


@settings(max_examples=200, deadline=None)
@given(utterances())
@pytest.mark.slow
def test_reading_gives_back_what_was_written(tmp_path_factory, spoken: list[Utterance]):
    folder = tmp_path_factory.mktemp("files")
    write_stm(folder / "x.stm", spoken)
    assert read_stm(folder / "x.stm") == spoken
    write_seglst(folder / "x.json", spoken)
    assert read_seglst(folder / "x.json") == spoken


SPOKEN = [
    Utterance("Thai_1", "O1", 1.680273886484085, 2.5, "ไม่ OK"),
    Utterance("Thai_1", "O2", 2.0, 2.25, ""),
    Utterance("Thai_2", "O1", 0.0, 0.0, "a  b"),
]


def test_meeteval_reads_the_same(tmp_path: Path):
    write_stm(tmp_path / "x.stm", SPOKEN)
    write_seglst(tmp_path / "x.json", SPOKEN)
    for segments in (
        STM.load(tmp_path / "x.stm").to_seglst(),
        SegLST(json.loads((tmp_path / "x.json").read_text("utf-8"))),
    ):
        found = [
            Utterance(s["session_id"], s["speaker"], float(s["start_time"]), float(s["end_time"]), s["words"])
            for s in segments
        ]
        assert [" ".join(u.text.split()) for u in found] == [" ".join(u.text.split()) for u in SPOKEN]
        assert [(u.recording, u.speaker, u.start, u.end) for u in found] == [
            (u.recording, u.speaker, u.start, u.end) for u in SPOKEN
        ]


def test_stm_holds_what_is_handed_in(tmp_path: Path):
    write_stm(tmp_path / "x.stm", SPOKEN)
    assert (tmp_path / "x.stm").read_text(encoding="utf-8") == (
        "Thai_1 1 O1 1.680273886484085 2.5 ไม่ OK\nThai_1 1 O2 2.0 2.25\nThai_2 1 O1 0.0 0.0 a b\n"
    )
    assert list(by_recording(SPOKEN)) == ["Thai_1", "Thai_2"]


def test_stm_faults_are_named_by_line(tmp_path: Path):
    path = tmp_path / "x.stm"
    path.write_text(";; comment\nThai_1 1 O1 0 1 a\n\nThai_1 1 O1 0\nThai_1 1 O1 0 x a\nThai_1 1 O1 2.0 1.5 a\n")
    with pytest.raises(FaultyInput) as caught:
        read_stm(path)
    assert caught.value.faults == (
        f"{path}:4: found 4 fields, expected 5 and a text, which may be empty",
        f"{path}:5: found the end 'x', expected a time in seconds",
        f"{path}:6: found the end 1.5 s, expected no earlier than the start, 2.0 s",
    )
    with pytest.raises(UserError, match=r"y.stm: no such file. Expected an STM file"):
        read_stm(tmp_path / "y.stm")


def test_seglst_faults_are_named_by_line(tmp_path: Path):
    path = tmp_path / "x.json"
    good = '{"session_id": "Thai_1", "speaker": "O1", "start_time": 0, "end_time": 1.5, "words": "a", "score": 1}'
    entries = [
        good,
        good.replace('"O1"', "1"),
        good.replace("1.5", "true"),
        good.replace("1.5", '"1_0"'),
        good.replace(": 0", ": 2"),
        '"a"',
        '{\n"speaker": "O1"}',
        good.replace('"a"', "null"),
    ]
    path.write_text("[\n" + ",\n".join(entries) + "\n]\n")
    with pytest.raises(FaultyInput) as caught:
        read_seglst(path)
    assert caught.value.faults == (
        f"{path}:3: found the speaker 1, expected text",
        f"{path}:4: found the end True, expected a time in seconds",
        f"{path}:5: found the end '1_0', expected a time in seconds",
        f"{path}:6: found the end 1.5 s, expected no earlier than the start, 2 s",
        f"{path}:7: found 'a', expected an object with session_id, speaker, start_time, end_time, words",
        f"{path}:8: found no session_id, start_time, end_time, words, expected session_id, speaker, start_time, "
        "end_time, words",
        f"{path}:10: found the words None, expected text",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"x.json:1: expected a SegLST file"),
        ("\n{}", r"x.json:2: expected a SegLST file"),
        ("[\n1,\n]", r"x.json:3: not JSON"),
        ("[1\n2]", r"x.json:2: not JSON \(expected , or \]"),
        ("[1", r"x.json:1: not JSON"),
        ("[]\n\n[]", r"x.json:3: found text after the array"),
        ("[1, {\n]", r"x.json:2: not JSON"),
    ],
)
def test_what_is_no_array_is_refused_with_its_line(tmp_path: Path, content: str, message: str):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_seglst(tmp_path / "x.json")


@pytest.mark.parametrize("write", [write_stm, write_seglst])
def test_what_cannot_be_written_is_refused(tmp_path: Path, write):
    for utterance in (
        Utterance("", "O1", 0, 1, "a"),
        Utterance("Thai_1", "O 1", 0, 1, "a"),
        Utterance("Thai_1", "O1", 1, 0, "a"),
        Utterance("Thai_1", "O1", -1, 0, "a"),
    ):
        with pytest.raises(ValueError, match="expected"):
            write(tmp_path / "x", [utterance])
    assert not (tmp_path / "x").exists()
