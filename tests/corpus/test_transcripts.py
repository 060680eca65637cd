from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.transcripts import OVERSHOOT, Utterance, parse_transcript, read_transcript, write_transcript
from mlcslm.errors import FaultyInput

TEXTS = st.text(
    st.one_of(st.sampled_from("ก็ 한 日本 é ’« ，\u2028\x85\x0b" + string.printable), st.characters(codec="utf-8"))
).map(lambda text: text.translate(dict.fromkeys(map(ord, "\t\n\r"))))


@st.composite
def utterances(draw, text=TEXTS):
    start = draw(st.floats(0, 4000))
    end = start + draw(st.floats(0.001, 20))
    return Utterance(draw(st.sampled_from(["O1", "O2"])), start, end, draw(text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("transcripts")


@pytest.mark.parametrize("text", [TEXTS, st.none()], ids=["four columns", "three columns"])
@given(data=st.data())
@pytest.mark.slow
def test_what_is_written_is_read_back_exactly(folder, text, data):
    rows = data.draw(st.lists(utterances(text), min_size=1, max_size=8))
    write_transcript(folder / "session.txt", rows)
    assert sorted(read_transcript(folder / "session.txt"), key=repr) == sorted(rows, key=repr)


def test_times_are_long_floats_and_text_stands_as_in_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"1.680273886484085\t3.25\tO1\t Hello,  WORLD  \n")
    assert read_transcript(path) == [Utterance("O1", 1.680273886484085, 3.25, " Hello,  WORLD  ")]


def test_lines_are_ordered_by_start_then_speaker_and_overlap_is_legal(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("5\t6\tO1\td\n1\t9\tO2\tc\n1\t2\tO1\tb\n0\t9\tO2\ta\n")
    assert [utterance.text for utterance in read_transcript(path)] == ["a", "b", "c", "d"]


def test_byte_order_mark_windows_line_ends_and_blank_lines_are_let_pass(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf0.5\t1\tO1\thi\r\n\r\n  \r\n2\t3\tO2\t\r\n")
    assert read_transcript(path) == [Utterance("O1", 0.5, 1.0, "hi"), Utterance("O2", 2.0, 3.0, "")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_alike_on_every_system_and_line_separators_are_text(tmp_path, end):
    path = tmp_path / "a.txt"
    lines = ["0\t1\tO1\tone\u2028two", "1\t2\tO2\tthree\x85", "x\t2\tO1\tfour"]
    path.write_bytes(end.join(line.encode() for line in lines) + end)
    found, faults = parse_transcript(path)
    assert [line.utterance.text for line in found] == ["one\u2028two", "three\x85"]
    assert [fault.line for fault in faults] == [3]


def test_a_byte_order_mark_where_files_were_joined_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf0\t1\tO1\ta\n\xef\xbb\xbf1\t2\tO1\tb\n")
    (fault,) = parse_transcript(path)[1]
    assert (fault.line, fault.kind) == (2, FaultKind.ENCODING) and "byte order mark (U+FEFF)" in fault.message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_one_fault_and_half_characters_are_named(tmp_path, encoding):
    path = tmp_path / "a.txt"
    path.write_bytes(("\ufeff" + "0\t1\tO1\ta\n" * 180).encode(encoding))
    assert [str(fault) for fault in parse_transcript(path)[1]] == [f"{path}: is UTF-16; save the file as UTF-8."]
    path.write_bytes(b"0\t1\tO1\ta\xed\xa0\xbd\n")
    assert [fault.kind for fault in parse_transcript(path)[1]] == [FaultKind.ENCODING]


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        (b"1\t2\tO1\thi\textra", [FaultKind.COLUMN_COUNT]),
        (b"1\t2\tO1", [FaultKind.COLUMN_COUNT]),
        (b"1 2 O1 hi", [FaultKind.COLUMN_COUNT]),
        (b"one\ttwo\tO1\thi", [FaultKind.TIME, FaultKind.TIME]),
        (b"nan\t2\tO1\thi", [FaultKind.TIME]),
        (b"1\tinf\tO1\thi", [FaultKind.TIME]),
        (b"1_0\t11\tO1\thi", [FaultKind.TIME]),
        (b"1\t1e308\tO1\thi", [FaultKind.TIME]),
        (b"\t2\tO1\thi", [FaultKind.TIME]),
        (b"2\t1\tO1\thi", [FaultKind.END_BEFORE_START]),
        (b"2\t2\tO1\thi", [FaultKind.END_BEFORE_START]),
        (b"2\t2.00001\tO1\thi", [FaultKind.END_BEFORE_START]),
        (b"-0.5\t1\tO1\thi", [FaultKind.NEGATIVE_START]),
        (b"1\t2\tO3\thi", [FaultKind.SPEAKER]),
        (b"1\t2\t\thi", [FaultKind.SPEAKER]),
        (b"1\t10.2\tO1\thi", [FaultKind.PAST_THE_END]),
        (b"10\t10.05\tO1\thi", [FaultKind.PAST_THE_END]),
        (b"11\t12\tO1\thi", [FaultKind.PAST_THE_END]),
        (b"1\t2\tO1\tcaf\xe9", [FaultKind.ENCODING]),
        (b"-1\tx\tA\thi", [FaultKind.TIME, FaultKind.NEGATIVE_START, FaultKind.SPEAKER]),
    ],
)
def test_a_faulty_line_is_named_by_number_and_the_others_are_kept(tmp_path, line, kinds):
    path = tmp_path / "a.txt"
    path.write_bytes(b"0\t1\tO1\tbefore\n" + line + b"\n3\t4\tO2\tafter\n")
    lines, faults = parse_transcript(path, duration=10.0)
    assert [(fault.kind, fault.line, fault.left_out) for fault in faults] == [(kind, 2, "line") for kind in kinds]
    assert all(str(fault).startswith(f"{path}:2: ") for fault in faults)
    assert [(kept.number, kept.utterance.text) for kept in lines] == [(1, "before"), (3, "after")]


def test_a_four_column_line_in_a_transcript_without_text_shows_the_lost_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0\t1\tO1\n1\t2\tO2\thi\n")
    assert [(f.line, f.kind) for f in parse_transcript(path)[1]] == [(1, FaultKind.COLUMN_COUNT)]


def test_a_last_boundary_slightly_past_the_end_is_no_fault(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"9\t{10 + OVERSHOOT - 0.001}\tO1\thi\n")
    assert not parse_transcript(path, duration=10.0)[1]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_an_empty_transcript_is_a_fault_of_the_session(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert [(f.kind, f.left_out) for f in parse_transcript(path)[1]] == [(FaultKind.EMPTY_TRANSCRIPT, "session")]


def test_reading_raises_all_faults_in_one_go(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x\t1\tO1\ta\n1\t2\tO9\tb\n\xff\n")
    with pytest.raises(FaultyInput) as caught:
        read_transcript(path)
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [f"{path}:{line}" for line in (1, 2, 3)]


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb"])
def test_a_text_that_would_break_the_format_is_refused_and_nothing_written(tmp_path, text):
    with pytest.raises(ValueError, match="tab or a line end"):
        write_transcript(tmp_path / "a.txt", [Utterance("O1", 0.0, 1.0, text)])
    assert not list(tmp_path.iterdir())


def test_texts_on_some_lines_only_are_refused(tmp_path):
    with pytest.raises(ValueError, match="others have none"):
        write_transcript(tmp_path / "a.txt", [Utterance("O1", 0.0, 1.0, "a"), Utterance("O2", 0.0, 1.0, None)])
