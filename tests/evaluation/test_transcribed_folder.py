"""Folders of recordings with transcripts of other tools beside them, as corpora."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlcslm.cli.corpus import manifest
from mlcslm.config.languages import read_languages
from mlcslm.corpus.manifest import read_manifest
from mlcslm.errors import FaultyInput, UserError
from mlcslm.evaluation.transcribed_folder import group_of_code, reader_of
from mlcslm.formats.conversation_files import SUFFIXES, Format, conversation
from mlcslm.formats.segments import Utterance

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
SAID = [("Frau Meier", 0.5, 1.75, "guten Tag"), ("B-2", 2.0, 3.25, "ja bitte"), ("Frau Meier", 3.5, 4.5, "gern")]


def record(path: Path, seconds: float = 5.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(1).uniform(-1, 1, int(8000 * seconds)), 8000)


def rows(folder: Path, language: str | None = "de") -> list[dict]:
    out = folder.parent / "m.parquet"
    manifest(folder, out, languages=LANGUAGES, language=language)
    return read_manifest(out).to_pylist()


@pytest.mark.parametrize("kind", ["srt", "vtt", "textgrid", "json", "stm", "ctm"])
def test_transcripts_of_every_format_give_the_same_utterances(kind: Format, tmp_path: Path) -> None:
    for session in ("call 1", "call.2"):
        record(tmp_path / "calls/deep" / f"{session}.wav")
        name = session.replace(" ", "_") if kind in ("stm", "ctm", "json") else session
        spoken = [
            Utterance(name, who.replace(" ", "_") if kind in ("stm", "ctm", "json") else who, start, end, text)
            for who, start, end, text in SAID
        ]
        path = tmp_path / "calls/deep" / f"{session}{SUFFIXES[kind]}"
        path.write_text(conversation(spoken, kind, 5.0), encoding="utf-8")
    found = rows(tmp_path / "calls")
    assert {row["session_id"] for row in found} == {"German_call%201", "German_call.2"}
    assert {row["grp"] for row in found} == {"German"}
    first = [row for row in found if row["session_id"] == "German_call.2"]
    assert " ".join(row["text"] for row in first) == "guten Tag ja bitte gern"
    assert {row["speaker"] for row in first} == {"Frau_Meier", "B_2"}
    if kind != "ctm":  # a word each
        assert [(row["start"], row["end"]) for row in first] == [one[1:3] for one in SAID]
        assert first[0]["utterance_id"] == "German-call.2-Frau_Meier-000050-000175"


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_table_of_whole_files(name: str, tmp_path: Path) -> None:
    texts = {"a": "guten Tag", "b": "ja, bitte"}
    for stem in texts:
        record(tmp_path / "clips/wavs" / f"{stem}.wav", 2.0)
    lines = [{"file_name": f"wavs/{stem}.wav", "transcription": text} for stem, text in texts.items()]
    content = (
        "".join(json.dumps(line) + "\n" for line in lines)
        if name.endswith("l")
        else "file_name,transcription\n" + "".join(f'wavs/{stem}.wav,"{text}"\n' for stem, text in texts.items())
    )
    (tmp_path / "clips" / name).write_text(content, encoding="utf-8")
    found = rows(tmp_path / "clips", "de-AT")
    assert [(row["session_id"], row["start"], row["end"], row["text"]) for row in found] == [
        ("German_a", 0.0, 2.0, "guten Tag"),
        ("German_b", 0.0, 2.0, "ja, bitte"),
    ]
    assert [row["utterance_id"] for row in found] == [f"German-{stem}-unknown-000000-000200" for stem in ("a", "b")]


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    for session in ("a", "b", "c", "d"):
        record(calls / f"{session}.wav")
    cue = "1\n00:00:01,000 --> 00:00:{}\nhallo\n"
    (calls / "a.srt").write_text(cue.format("02,000"))
    (calls / "a.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nhallo\n")  # a second transcript
    (calls / "b.srt").write_text(cue.format("09,000"))  # past the end
    (calls / "c.json").write_text('{"what": 1}')
    (calls / "gone.srt").write_text(cue.format("02,000"))
    with pytest.raises(FaultyInput) as caught:
        rows(calls)
    faults = "\n".join(caught.value.faults)
    for path, message in (
        ("a.vtt", "is a transcript of a too"),
        ("b.srt", "5"),
        ("c.json", "looks like a JSON object with the keys 'what'"),
        ("d.wav", "has no transcript"),
        ("gone.srt", "has no recording gone.wav"),
    ):
        assert any(path in fault and message in fault for fault in caught.value.faults), (path, faults)
    assert len(caught.value.faults) == 5


def test_the_language_is_asked_for(tmp_path: Path) -> None:
    record(tmp_path / "calls/a.wav")
    (tmp_path / "calls/a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhallo\n")
    with pytest.raises(UserError, match="which language"):
        rows(tmp_path / "calls", None)
    record(tmp_path / "dev/German/a.wav")
    (tmp_path / "dev/German/a.txt").write_text("0.1\t1.4\tO1\thallo\n")
    with pytest.raises(UserError, match="--language is for a folder"):
        rows(tmp_path / "dev", "de")
    assert len(rows(tmp_path / "dev", None)) == 1


@pytest.mark.parametrize(
    ("code", "group"),
    [
        ("de", "German"),
        ("de-AT", "German"),
        ("en-US", "English-American"),
        ("en_GB", "English-British"),
        ("french", "French"),
    ],
)
def test_codes(code: str, group: str) -> None:
    assert group_of_code(code, read_languages(LANGUAGES)).group == group


@pytest.mark.parametrize(("code", "message"), [("en", "may be English-American"), ("nl", "not in the languages table")])
def test_codes_without_a_group(code: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        group_of_code(code, read_languages(LANGUAGES))


def test_a_configuration_is_asked_for_its_own_key(tmp_path: Path) -> None:
    languages = read_languages(LANGUAGES)
    record(tmp_path / "calls/a.wav")
    (tmp_path / "calls/a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhallo\n")
    for language, message in (
        (None, r"which language\? Set corpus.language, e.g. to de"),
        ("xx", r"corpus\.language xx: not in .* name the table: languages: FILE"),
    ):
        with pytest.raises(UserError, match=message):
            reader_of(tmp_path / "calls", language, languages, option="corpus.language")
    read = reader_of(tmp_path / "calls", "de", languages, option="corpus.language")
    assert read is not None and [one.text for one in read(tmp_path / "calls").segments] == ["hallo"]
    assert reader_of(tmp_path / "missing", "de", languages) is None  # the corpus's reader names the folder
