"""Kaldi data folders: round trips, folders of other projects, and faults."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.corpus.kaldi import read_kaldi_folder, write_kaldi_folder
from mlcslm.corpus.manifest import build_manifest
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.places import MARKER


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "call 1.wav", np.zeros(8_000 * 10), 8_000)
    return tmp_path / "call 1.wav"


@pytest.fixture
def external(wav: Path, tmp_path: Path) -> Path:
    """A folder as another project would have it: ids that are not the challenge's."""
    return write(
        tmp_path / "data",
        wav_scp=f"call1 {wav}\n",
        segments="spk2-u2 call1 2.5 4\nspk1-u1 call1 0 2.25\n",
        text="spk1-u1 Bonjour.\nspk2-u2 Ça va ?\n",
        utt2spk="spk1-u1 spk1\nspk2-u2 spk2\n",
        utt2lang="spk1-u1 fr\nspk2-u2 French\n",
    )


def test_a_manifest_comes_back_as_it_was(tones: Path, languages, tmp_path: Path) -> None:
    before = pq.read_table(tones)
    write_kaldi_folder(before.to_pylist(), tmp_path / "data")
    after, faults = build_manifest(tmp_path / "data", languages)
    assert after.equals(before.cast(after.schema))
    assert not faults


def test_files_are_as_kaldi_wants_them(tones: Path, tmp_path: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    write_kaldi_folder(rows[::-1], tmp_path)
    lines = {path.name: path.read_bytes().splitlines() for path in tmp_path.iterdir() if path.name != MARKER}
    for name, found in lines.items():
        assert found == sorted(found), f"{name} is not sorted as LC_ALL=C sorts"
    speakers = [line.split()[1] for line in lines["utt2spk"]]
    assert speakers == sorted(speakers), "utterances sorted by id are not sorted by speaker"
    assert all(line.split()[0].startswith(line.split()[1]) for line in lines["utt2spk"])
    # spk2utt is utt2spk turned round: what Kaldi's utt2spk_to_spk2utt.pl makes.
    back = sorted(
        b"%s %s" % (name, speaker) for speaker, *names in map(bytes.split, lines["spk2utt"]) for name in names
    )
    assert back == lines["utt2spk"]
    assert lines["segments"][0].split()[:2] == [b"English-American-0001_001-O1-000010-000030", b"American_0001_001"]


def test_an_external_folder_becomes_a_manifest(external: Path, wav: Path, languages) -> None:
    table, _ = build_manifest(external, languages)
    first, second = table.to_pylist()
    assert first == {
        "utterance_id": "spk1-u1",
        "session_id": "call1",
        "grp": "French",
        "speaker": "spk1",
        "turn": 0,
        "start": 0.0,
        "end": 2.25,
        "audio": str(wav),
        "sample_rate": 8000,
        "text": "Bonjour.",
    }
    assert (second["utterance_id"], second["turn"], second["text"]) == ("spk2-u2", 1, "Ça va ?")


def test_without_segments_a_recording_is_an_utterance_and_without_text_none_has_one(wav: Path, tmp_path, languages):
    folder = write(tmp_path / "data", wav_scp=f"French-1 {wav}\n", utt2spk="French-1 French-1\n")
    (row,) = build_manifest(folder, languages)[0].to_pylist()
    assert (row["start"], row["end"], row["text"], row["grp"]) == (0.0, 10.0, None, "French")


def test_utterances_without_a_transcript_have_no_line(external: Path, languages, tmp_path: Path) -> None:
    rows = [row | {"text": None} for row in build_manifest(external, languages)[0].to_pylist()]
    write_kaldi_folder(rows, tmp_path / "out")
    assert not (tmp_path / "out" / "text").exists()


def test_a_segment_may_go_to_the_end(external: Path, languages) -> None:
    write(external, segments="spk1-u1 call1 9.5 -1\n")
    (row,) = build_manifest(external, languages)[0].to_pylist()
    assert (row["start"], row["end"]) == (9.5, 10.0)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_alike_and_no_break_spaces_belong_to_texts(external: Path, languages, end: str) -> None:
    text = "spk1-u1 Bonjour\u00a0!\u2028Oui." + end + "spk2-u2  \u3000はい " + end
    (external / "text").write_bytes(text.encode())
    assert build_manifest(external, languages)[0]["text"].to_pylist() == ["Bonjour\u00a0!\u2028Oui.", "\u3000はい"]


# What Kaldi's validate_text.pl and validate_data_dir.sh refuse in a line of text, written from their documentation.
REFUSED = re.compile(r"[^\S \t\n]|(?<![A-Za-z0-9_])(<s>|</s>|#0)(?![A-Za-z0-9_])")


@settings(deadline=None)
@given(
    st.lists(
        st.none() | st.text(st.sampled_from("ab <s>/#0\u00a0\u2028\x85\x0b\x1c\u3000é") | st.characters(codec="utf-8"))
    )
)
def test_any_text_is_written_as_kaldi_s_own_check_takes_it_and_what_is_changed_is_said(tmp_path_factory, texts) -> None:
    folder = tmp_path_factory.mktemp("kaldi") / "data"
    texts = [None if text is None else text.translate(dict.fromkeys(map(ord, "\t\n\r"))) for text in texts]
    row = {"session_id": "French_a", "grp": "French", "speaker": "O1", "start": 0.0, "end": 1.0, "audio": "a.wav"}
    rows = [row | {"utterance_id": f"French-a-O1-{number:03}", "text": text} for number, text in enumerate(texts)]
    said = write_kaldi_folder(rows, folder)
    if not (folder / "text").exists():
        assert set(texts) <= {None}
        return
    lines = (folder / "text").read_bytes().decode().split("\n")[:-1]
    assert len(lines) == len(texts)
    assert not any(map(REFUSED.search, lines))
    found = [line.split(" ", 1)[1] for line in lines]
    assert bool(said) == (found != texts)


def test_speakers_that_ids_do_not_begin_with_are_told(external: Path, languages, tmp_path: Path) -> None:
    rows = build_manifest(external, languages)[0].to_pylist()
    rows[0] |= {"utterance_id": "z"}
    assert "--no-spk-sort" in write_kaldi_folder(rows, tmp_path / "out")[-1]


def test_flac_goes_through_its_decoder_and_back_without_running_it(tmp_path: Path, languages) -> None:
    audio = tmp_path / "it's a call.flac"
    soundfile.write(audio, np.zeros(16_000), 16_000)
    row = {"utterance_id": "French-1-O1-000000-000100", "session_id": "French_1", "grp": "French", "speaker": "O1"}
    row |= {"start": 0.0, "end": 1.0, "audio": str(audio), "text": "oui"}
    write_kaldi_folder([row], tmp_path / "data")
    entry = (tmp_path / "data" / "wav.scp").read_text()
    assert entry.startswith("French_1 flac -c -d -s '") and entry.endswith(" |\n")
    (found,) = build_manifest(tmp_path / "data", languages)[0].to_pylist()
    assert (found["audio"], found["speaker"]) == (str(audio), "O1")


@pytest.mark.parametrize("command", ["sox x.wav -t wav - |", "touch ran |", "flac -cd 'unclosed |", "flac -o ran x |"])
def test_commands_are_never_run(external: Path, languages, command: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(external, wav_scp=f"call1 {command}\n")
    with pytest.raises(FaultyInput, match="commands are not run"):
        build_manifest(external, languages)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "location", "message"),
    [
        ("segments", "spk1-u1 call1 0\n", "segments:1", "found 3 fields, expected 4"),
        ("segments", "spk1-u1 call1 zero 2\n", "segments:1", "the start is 'zero'"),
        ("segments", "spk1-u1 call1 3 2\n", "segments:1", "expected later than its start"),
        ("segments", "spk1-u1 call1 1 11\n", "segments:1", "past the end of the audio"),
        ("segments", "spk1-u1 call7 1 2\n", "segments:1", "its recording call7 is not listed"),
        ("segments", "spk1-u1 call1 0 1\nspk1-u1 call1 1 2\n", "segments:2", "already on line 1"),
        ("segments", "spk9-u9 call1 0 1\n", "segments:1", "no line in utt2spk"),
        ("text", "spk1-u1 oui\n", "segments:1", "spk2-u2 has no line in text"),
        (
            "segments",
            "spk1-u1 call1 11 -1\n",
            "segments:1",
            "starts at 11.000 s, past the end of the audio at 10.000 s",
        ),
        ("segments", "spk1-u1 call1 -2 -1\n", "segments:1", "starts at -2 s, expected 0 or later"),
        ("segments", "spk1-u1 call1 0 1 2\n", "segments:1", "found 5 fields, expected 4"),
        ("utt2spk", "spk1-u1 spk 1\nspk2-u2 spk2\n", "utt2spk:1", "found 3 fields, expected 2"),
        ("utt2spk", "spk1-u1\nspk2-u2 spk2\n", "utt2spk:1", "found 1 fields, expected 2"),
        ("text", "spk1-u1 a\n\ufeffspk2-u2 b\n", "text:2", "byte order mark (U+FEFF)"),
        ("utt2lang", "spk1-u1 fr\nspk2-u2 en\n", "segments:1", "its language is 'en'"),
        ("utt2lang", "", "segments:2", "begins with no group of the languages table"),
        ("wav_scp", "call1 nowhere.wav\n", "wav.scp:1", "no such file"),
    ],
)
def test_faults_are_named_by_file_and_line(external: Path, languages, file, content, location, message) -> None:
    write(external, **{file: content})
    with pytest.raises(FaultyInput) as caught:
        build_manifest(external, languages)
    assert any(location in line and message in line for line in str(caught.value).splitlines()), caught.value


def test_sound_lines_are_kept_where_faulty_ones_are_skipped(external: Path, languages) -> None:
    write(external, segments="spk1-u1 call1 0 1\nspk2-u2 call1 9 99\n")
    table, faults = build_manifest(external, languages, skip_faulty=True)
    assert table["utterance_id"].to_pylist() == ["spk1-u1"]
    assert [str(fault.kind) for fault in faults] == ["past-the-end"]


def test_a_folder_without_speakers_is_told(external: Path) -> None:
    (external / "utt2spk").unlink()
    with pytest.raises(UserError, match="utt2spk: no such file"):
        read_kaldi_folder(external)


def test_nothing_but_an_earlier_folder_is_replaced(tones: Path, tmp_path: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    write_kaldi_folder(rows, tmp_path / "data")
    write_kaldi_folder(rows[:1], tmp_path / "data")
    assert len((tmp_path / "data" / "segments").read_text().splitlines()) == 1
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"added or changed since: thesis\.txt"):
        write_kaldi_folder(rows, tmp_path / "data")


def test_names_that_kaldi_cannot_hold_are_told(tones: Path, tmp_path: Path) -> None:
    (row, *_) = pq.read_table(tones).to_pylist()
    with pytest.raises(FaultyInput, match="'a b'"):
        write_kaldi_folder([row | {"session_id": "a b"}], tmp_path / "data")
    assert not (tmp_path / "data").exists()
