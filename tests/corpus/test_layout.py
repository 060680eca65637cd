from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlcslm.config.languages import Group, read_languages
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.layout import Utterance, find_sessions, read_transcript, write_session

LANGUAGES = read_languages(Path(__file__).parents[2] / "config" / "languages.tsv")
AMERICAN, BRITISH, FRENCH = (LANGUAGES[name] for name in ("English-American", "English-British", "French"))
UTTERANCES = [Utterance("O1", 0.0, 0.04, "Hello."), Utterance("O2", 0.03, 0.1, "Yes?")]


def add(root: Path, group: Group, session: str, subfolder: str = "") -> Path:
    return write_session(root, group, session, np.zeros(1600, np.float32), 16000, UTTERANCES, subfolder)


def kinds(faults):
    return [(fault.kind, fault.path) for fault in faults]


def test_a_written_session_is_read_back(tmp_path):
    audio = np.array([0.0, 0.25, -0.5, 1 / 32768], np.float32)
    path = write_session(tmp_path, AMERICAN, "0517_007", audio, 8000, UTTERANCES)
    assert path == tmp_path / "English" / "American" / "0517_007.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 8000
    np.testing.assert_array_equal(samples, audio)
    assert read_transcript(path.with_suffix(".txt")) == UTTERANCES
    assert {file.name for file in path.parent.iterdir()} == {"0517_007.wav", "0517_007.txt"}


def test_stereo_is_written_as_given(tmp_path):
    path = write_session(tmp_path, FRENCH, "a", np.array([[0.5, -0.5], [0.25, 0.0]]), 16000, UTTERANCES)
    np.testing.assert_array_equal(soundfile.read(path)[0], [[0.5, -0.5], [0.25, 0.0]])


def test_sessions_come_in_the_order_of_the_sheet_then_by_name(tmp_path):
    add(tmp_path, FRENCH, "b")
    add(tmp_path, FRENCH, "a")
    add(tmp_path, BRITISH, "z")
    add(tmp_path, AMERICAN, "0517_007", subfolder="0517")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert [session.recording for session in sessions] == ["American_0517_007", "British_z", "French_a", "French_b"]
    assert sessions[0].audio == tmp_path / "English" / "American" / "0517" / "0517_007.wav"
    assert not faults
    assert all(session.sound for session in sessions)


def test_only_sessions_count(tmp_path):
    add(tmp_path, FRENCH, "a")
    for name in ("README.txt", "French/.b.wav", "French/notes.pdf", ".git/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert [session.name for session in sessions] == ["a"]
    assert not faults


def test_flac_and_upper_case_suffixes_are_audio(tmp_path):
    wav = add(tmp_path, FRENCH, "a")
    wav.rename(wav.with_suffix(".WAV"))
    other = add(tmp_path, FRENCH, "b")
    other.rename(other.with_suffix(".flac"))
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert [session.audio.name for session in sessions] == ["a.WAV", "b.flac"]
    assert not faults


def test_a_missing_half_is_a_fault_of_the_session(tmp_path):
    add(tmp_path, FRENCH, "a").unlink()
    add(tmp_path, FRENCH, "b").with_suffix(".txt").unlink()
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert kinds(faults) == [
        (FaultKind.MISSING_AUDIO, str(tmp_path / "French" / "a.txt")),
        (FaultKind.MISSING_TRANSCRIPT, str(tmp_path / "French" / "b.wav")),
    ]
    assert [(session.name, session.sound) for session in sessions] == [("a", False), ("b", False)]


@pytest.mark.parametrize(
    ("folder", "named"),
    [
        ("Klingon", "Klingon"),
        ("Klingon/0001", "Klingon"),
        ("english/American", "english"),
        ("English/Scottish/0001", "English/Scottish"),
        ("English", "English"),
    ],
)
def test_sessions_outside_every_group_are_one_fault_of_the_first_unknown_folder(tmp_path, folder, named):
    stranger = Group("x", folder, "x", "<LANG_X>", "word", "")
    add(tmp_path, stranger, "a")
    add(tmp_path, stranger, "b")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert kinds(faults) == [(FaultKind.UNKNOWN_GROUP, str(tmp_path / named))]
    assert "2 session(s)" in faults[0].message
    assert "English/American" in faults[0].message
    assert not sessions


def test_a_recording_in_the_root_itself_is_a_fault(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    assert kinds(find_sessions(tmp_path, LANGUAGES)[1]) == [(FaultKind.UNKNOWN_GROUP, str(tmp_path))]


def test_sessions_two_folders_down_are_a_fault(tmp_path):
    add(tmp_path, FRENCH, "a", subfolder="one/two")
    assert kinds(find_sessions(tmp_path, LANGUAGES)[1]) == [
        (FaultKind.MISPLACED_SESSION, str(tmp_path / "French" / "one" / "two"))
    ]


def test_the_second_session_of_one_name_is_a_fault(tmp_path):
    add(tmp_path, FRENCH, "a", subfolder="one")
    add(tmp_path, FRENCH, "a", subfolder="two")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert kinds(faults) == [(FaultKind.DUPLICATE_SESSION, str(tmp_path / "French" / "two" / "a.wav"))]
    assert str(tmp_path / "French" / "one" / "a.wav") in faults[0].message
    assert [session.sound for session in sessions] == [True, False]


def test_two_recordings_of_one_session_are_a_fault(tmp_path):
    wav = add(tmp_path, FRENCH, "a")
    wav.with_suffix(".flac").write_bytes(b"")
    assert [fault.kind for fault in find_sessions(tmp_path, LANGUAGES)[1]] == [FaultKind.DUPLICATE_SESSION]


@pytest.mark.parametrize("names", [("a.wav", "a.WAV"), ("a.wav", "A.wav"), ("caf\u00e9.wav", "cafe\u0301.wav")])
def test_two_recordings_of_one_session_are_a_fault_whatever_their_case(tmp_path, names):
    folder = add(tmp_path, FRENCH, Path(names[0]).stem).parent
    (folder / names[1]).write_bytes(b"")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert [fault.kind for fault in faults] == [FaultKind.DUPLICATE_SESSION] and len(sessions) == 1
    assert "2 recordings of one session" in faults[0].message


def test_two_transcripts_of_one_session_are_a_fault(tmp_path):
    text = add(tmp_path, FRENCH, "a").with_suffix(".txt")
    text.with_suffix(".TXT").write_bytes(text.read_bytes())
    _, faults = find_sessions(tmp_path, LANGUAGES)
    assert kinds(faults) == [(FaultKind.DUPLICATE_SESSION, str(text.with_suffix(".TXT")))]
    assert "2 transcripts of one session (a.TXT, a.txt)" in faults[0].message


def test_sessions_of_two_folders_that_differ_in_case_alone_are_a_fault(tmp_path):
    add(tmp_path, FRENCH, "a", subfolder="one")
    add(tmp_path, FRENCH, "A", subfolder="two")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert [fault.kind for fault in faults] == [FaultKind.DUPLICATE_SESSION]
    assert sum(session.sound for session in sessions) == 1


def test_groups_may_share_session_names(tmp_path):
    add(tmp_path, FRENCH, "0001")
    add(tmp_path, AMERICAN, "0001")
    sessions, faults = find_sessions(tmp_path, LANGUAGES)
    assert not faults and [session.recording for session in sessions] == ["American_0001", "French_0001"]


def test_a_name_may_be_anything_that_is_text(tmp_path):
    add(tmp_path, FRENCH, "; rm -rf x")
    (session,), faults = find_sessions(tmp_path, LANGUAGES)
    assert not faults
    assert (session.name, session.recording) == ("; rm -rf x", "French_;%20rm%20-rf%20x")


def test_bytes_in_a_name_that_are_no_text_are_a_fault(tmp_path):
    for path in (wav := add(tmp_path, FRENCH, "a"), wav.with_suffix(".txt")):
        path.rename(path.with_stem(os.fsdecode(b"caf\xe9")))
    _, faults = find_sessions(tmp_path, LANGUAGES)
    assert [fault.kind for fault in faults] == [FaultKind.SESSION_NAME]
    assert str(faults[0]).startswith(f"{tmp_path}/French/caf\\xe9.wav: has bytes in its name that are not UTF-8")


def test_links_are_followed_but_not_in_circles(tmp_path):
    add(tmp_path / "store", FRENCH, "a")
    root = tmp_path / "root"
    root.mkdir()
    (root / "French").symlink_to(tmp_path / "store" / "French", target_is_directory=True)
    (root / "again").symlink_to(root, target_is_directory=True)
    sessions, faults = find_sessions(root, LANGUAGES)
    assert [session.audio for session in sessions] == [root / "French" / "a.wav"]
    assert not faults
