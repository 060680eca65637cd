from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.ctm import read_ctm
from mlcslm.formats.detect import detect_format, named_format
from mlcslm.formats.foreign import TITLES
from mlcslm.formats.nemo import NemoEntry, read_nemo
from mlcslm.formats.segments import Utterance
from mlcslm.formats.system_output import read_system_output


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ctm_has_words_at_their_times_and_the_speaker_or_the_channel(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a.ctm", ";; made by hand\nAmerican_1 A 0.1 0.2 hello 0.98\nAmerican_1 1 0.3 0 you 0.5 lex O2\n"
    )
    assert read_ctm(path).words == [
        Utterance("American_1", "A", 0.1, 0.3, "hello"),
        Utterance("American_1", "O2", 0.3, 0.3, "you"),
    ]


def test_faults_of_a_ctm_are_listed_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ctm", "a 1 0 1\na 1 x 1 b\na 1 0 -1 b\na 1 * * <ALT_BEGIN>\na 1 0 1 fine\n")
    with pytest.raises(FaultyInput) as caught:
        read_ctm(path)
    lines = [fault.split(": ")[0] for fault in caught.value.faults]
    assert lines == [f"{path}:{number}" for number in (1, 2, 3, 4)]
    assert "found 4 fields" in caught.value.faults[0] and "<ALT_BEGIN>" in caught.value.faults[3]


def test_nemo_lines_are_named_by_id_or_by_audio_file(tmp_path: Path) -> None:
    lines = [
        {"audio_filepath": "/far/French-1-O1-0-1.wav", "text": "the reference", "pred_text": "ça"},
        {"audio_filepath": "x.wav", "utterance_id": "French-1-O1-0-2", "pred_text": ""},
        {"audio_filepath": "0517_007.wav", "offset": 0.5, "duration": "1.5", "speaker": "O1", "pred_text": "so"},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert read_nemo(path) == [
        NemoEntry("French-1-O1-0-1", "ça", audio="/far/French-1-O1-0-1.wav"),
        NemoEntry("French-1-O1-0-2", ""),
        NemoEntry("0517_007", "so", 0.5, 1.5, "O1", "0517_007.wav"),
    ]
    only_text = write(tmp_path, "b.jsonl", '{"audio_filepath": "a.wav", "text": "recognised"}\n')
    assert read_nemo(only_text) == [NemoEntry("a", "recognised", audio="a.wav")]


def test_faults_of_nemo_lines_are_listed_by_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.jsonl",
        '{"audio_filepath": "a.wav", "pred_text": "x"}\n{"audio_filepath": "b.wav", "text": "no prediction"}\n[]\n{\n'
        '{"pred_text": "x"}\n{"audio_filepath": "c.wav", "pred_text": "x", "offset": -1}\n',
    )
    with pytest.raises(FaultyInput) as caught:
        read_nemo(path)
    assert sorted(fault.split(": ")[0] for fault in caught.value.faults) == [f"{path}:{n}" for n in (2, 3, 4, 5, 6)]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("hyp", "id text\n", "kaldi"),
        ("text.txt", "[laughs] is no id\n", "seglst"),
        ("a.STM", "", "stm"),
        ("a.ctm", "", "ctm"),
        ("a.rttm", "", "rttm"),
        ("a.json", "\n [", "seglst"),
        ("a.json", '\ufeff{"', "nemo"),
    ],
)
def test_formats_are_told_by_name_or_first_character(tmp_path: Path, name: str, text: str, expected: str) -> None:
    assert detect_format(write(tmp_path, name, text)) == expected


def test_folders_and_several_files_are_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "turns").mkdir()
    for recording in ("American_1", "French_1"):
        line = f"SPEAKER {recording} 1 0 1 <NA> <NA> s <NA> <NA>\n"
        write(tmp_path / "turns", f"{recording}.rttm", line)
    stm = write(tmp_path, "a.stm", "American_1 1 s 0 1 hello\n")
    given = read_system_output([stm, tmp_path / "turns"])
    assert (given.kinds, given.has_transcripts) == (("rttm", "stm"), True)
    assert (list(given.turns), [u.text for u in given.utterances]) == (["American_1", "French_1"], ["hello"])
    assert not read_system_output([tmp_path / "turns"]).has_transcripts


def test_what_cannot_be_read_is_the_users_mistake(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a", "id text\n"), write(tmp_path, "b", "id other\n")
    with pytest.raises(UserError, match="another file has too"):
        read_system_output([first, second])
    with pytest.raises(UserError, match="no file in it ends in"):
        read_system_output([tmp_path])
    with pytest.raises(UserError, match="empty; expected hypotheses"):
        read_system_output([write(tmp_path, "empty", "")])
    with pytest.raises(UserError, match="no such file"):
        read_system_output([tmp_path / "none"])


def test_every_format_can_be_named() -> None:
    for name in ("auto", "kaldi", "stm", "ctm", "seglst", "nemo", "rttm", *TITLES):
        assert named_format(name) == name
    with pytest.raises(UserError, match=r"--format word: expected one of auto, kaldi, .*, table"):
        named_format("word")
