"""Export and transcribe: what the workflow's decoder wrote, from the exported folder alone."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.decoding.long_utterances import Pieces, cut_at_pauses
from mlcslm.decoding.transcription import Transcriber
from mlcslm.errors import FaultyInput, UserError
from mlcslm.export.checkpoint import export_checkpoint

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_checkpoint(trained, folder, languages=LANGUAGES)
    return folder


@pytest.fixture(scope="module")
def decoded(trained: Path, tones: Path, languages, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The workflow's hypotheses."""
    out = tmp_path_factory.mktemp("decoded") / "hypotheses.parquet"
    decode_split(DecodingPaths(trained, tones, out), DecodingConfig(), languages)
    return pq.read_table(out).to_pylist()


def cut(utterance: dict[str, Any], path: Path) -> Path:
    """An utterance's audio as a file of its own, sample by sample."""
    audio, rate = soundfile.read(utterance["audio"], dtype="int16")
    soundfile.write(path, audio[round(utterance["start"] * rate) : round(utterance["end"] * rate)], rate)
    return path


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from mlcslm.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_an_export_transcribes_a_manifest_as_the_workflow_did(exported: Path, decoded, tones: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    found = {one["utterance_id"]: one for one in Transcriber.load(exported).decode(rows)}
    assert [found[one["utterance_id"]]["raw_text"] for one in decoded] == [one["raw_text"] for one in decoded]
    assert len({one["raw_text"] for one in decoded}) > 3  # answers that differ, or the check would say nothing


def test_a_checkpoint_transcribes_like_its_export(trained: Path, exported: Path, tones: Path, tmp_path, languages):
    wav = cut(pq.read_table(tones).to_pylist()[3], tmp_path / "a.wav")
    assert Transcriber.load(trained, languages=languages)(wav) == Transcriber.load(exported)(wav)


def test_the_command_needs_the_folder_and_the_package_alone(exported: Path, decoded, tones: Path, tmp_path: Path):
    """In a folder with nothing else in it, and with the export moved to where it was not written."""
    rows = pq.read_table(tones).to_pylist()[:3]
    wavs = [cut(row, tmp_path / f"{number}.wav") for number, row in enumerate(rows)]
    shutil.copytree(exported, tmp_path / "moved")
    done = run("transcribe", "moved", *wavs, "--group", "en", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    texts = [one["transcript"] for one in decoded[:3]]
    assert done.stdout.splitlines() == [f"{wav}\t{text}" for wav, text in zip(wavs, texts, strict=True)]


def test_lines_of_a_manifest_are_kaldi_text_and_json_has_the_rest(exported: Path, tones: Path, monkeypatch, capsys):
    from mlcslm.cli.transcribe import transcribe

    transcribe(str(exported), [tones], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" ")[0] for line in lines] == pq.read_table(tones)["utterance_id"].to_pylist()
    transcribe(str(exported), [tones], as_json=True)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert lines[0].split(" ", 1)[1] == first["transcript"]
    assert first["raw_text"].startswith("<LANG_") and first["stop_reason"] in ("end", "length", "malformed")


def test_long_recordings_are_cut_where_nobody_speaks(exported: Path, tmp_path: Path) -> None:
    model = Transcriber.load(exported)
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 31), 16_000)
    assert model.rows_of(tmp_path / "long.wav") == []
    assert model(tmp_path / "long.wav") == ""
    soundfile.write(tmp_path / "short.wav", np.zeros(8_000 * 2), 8_000)
    (row,) = model.rows_of(tmp_path / "short.wav")
    assert (row["start"], row["end"]) == (0.0, 2.0)


def speech_of(tones: Path, seconds: float) -> np.ndarray:
    """The tone corpus over and over, with a pause of half a second at each three."""
    audio, _ = soundfile.read(pq.read_table(tones)["audio"][0].as_py())
    loud = np.tile(audio[:48_000] + 0.0, int(seconds / 3) + 1)[: round(16_000 * seconds)]
    for start in range(40_000, len(loud), 48_000):
        loud[start : start + 8_000] = 0
    return loud


@pytest.fixture
def long_row(tones: Path, tmp_path: Path) -> dict[str, Any]:
    soundfile.write(tmp_path / "long.wav", speech_of(tones, 65.0), 16_000)
    row = {"utterance_id": "French-long-O1-1", "session_id": "French_long", "grp": "French", "turn": 0}
    return row | {"speaker": "O1", "audio": str(tmp_path / "long.wav"), "sample_rate": 16000, "start": 1.0, "end": 64.0}


@pytest.mark.parametrize("context", ["none", "own"])
def test_a_long_utterance_is_decoded_in_pieces_that_leave_nothing_out(
    exported: Path, long_row: dict[str, Any], tones: Path, context: str, capsys
) -> None:
    model = Transcriber.load(exported)
    model.context, model.decoding = 2, model.decoding.model_copy(update={"context": context})
    others = pq.read_table(tones).drop_columns(["text"]).to_pylist()[:2]
    pieces = Pieces([long_row], 30.0).rows
    found = {one["utterance_id"]: one for one in model.decode([long_row, *others])}
    assert found.keys() == {row["utterance_id"] for row in (long_row, *others)}
    whole = found[long_row["utterance_id"]]
    assert 625 <= whole["audio_tokens"] <= 630  # ten a second of 63 s; the encoder hears 300 at once
    assert "1 utterance is longer than the encoder's 30 s" in capsys.readouterr().err
    if context == "none":
        parts = {one["utterance_id"]: one for one in model.decode(pieces)}
        texts = [parts[piece["utterance_id"]]["transcript"] for piece in pieces]
        assert whole["transcript"] == " ".join(filter(None, texts))


def test_the_last_words_of_a_long_utterance_change_its_transcript_s_length(exported: Path, long_row) -> None:
    """Cut at 30 s, both would have the same answer."""
    model = Transcriber.load(exported)
    tokens = [next(model.decode([long_row | {"end": end}]))["audio_tokens"] for end in (31.0, 41.0)]
    assert tokens[1] - tokens[0] == pytest.approx(100, abs=2)


def test_cuts_are_in_pauses_and_pieces_tile_the_utterance(long_row: dict[str, Any]) -> None:
    pieces = Pieces([long_row, long_row | {"utterance_id": "short", "end": 31.0}], 30.0)
    assert pieces.long == [long_row["utterance_id"]] and pieces.rows[-1]["utterance_id"] == "short"
    edges = [(row["start"], row["end"]) for row in pieces.rows[:-1]]
    assert edges[0][0] == 1.0 and edges[-1][1] == 64.0 and len(edges) == 3
    assert all(one[1] == other[0] for one, other in itertools.pairwise(edges))
    assert all(end - start <= 30.0 for start, end in edges)
    for _, cut_at in edges[:-1]:
        assert 2.5 <= cut_at % 3 <= 3.0 or cut_at % 3 == 0, cut_at  # where there is silence


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40_000), longest=st.integers(4_000, 9_000), seed=st.integers(0, 9))
def test_any_audio_is_cut_into_pieces_that_fit(length: int, longest: int, seed: int) -> None:
    edges = [0, *cut_at_pauses(np.random.default_rng(seed).normal(size=length), longest), length]
    sizes = np.diff(edges)
    assert (sizes > 0).all() and (sizes <= longest).all()
    assert (sizes[:-1] >= 0.59 * longest).all()


def test_hypotheses_of_pieces_are_joined_once_all_are_there(long_row: dict[str, Any]) -> None:
    pieces = Pieces([long_row], 30.0)
    think = "The speech sounds like: oh, but it might have some insertion: oh, let me correct it."
    parts = [
        {"utterance_id": row["utterance_id"], "raw_text": f"<{n}>", "language": None, "transcript": f"word{n}"}
        | {"think": think, "tokens": 3, "audio_tokens": 200, "stop_reason": reason, "loop": n == 1, "seconds": 0.5}
        for n, (row, reason) in enumerate(zip(pieces.rows, ("end", "length", "malformed"), strict=True))
    ]
    assert pieces.join([parts[2], parts[0]]) == []
    (whole,) = pieces.join([parts[1]])
    assert whole == {
        "utterance_id": long_row["utterance_id"],
        "raw_text": "<0> <1> <2>",
        "language": None,
        "transcript": "word0 word1 word2",
        "think": "The speech sounds like: oh oh oh, but it might have some insertion: oh, oh, oh, let me correct it.",
        "tokens": 9,
        "audio_tokens": 600,
        "stop_reason": "length",
        "loop": True,
        "seconds": 1.5,
    }


def test_a_recording_that_is_none_takes_no_other_s_transcript_with_it(
    exported: Path, decoded, tones: Path, tmp_path: Path, capsys
) -> None:
    from mlcslm.cli.transcribe import transcribe

    good = cut(pq.read_table(tones).to_pylist()[0], tmp_path / "good.wav")
    samples, rate = soundfile.read(good)
    samples[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "opposed.wav", np.stack([samples[8:], -samples[8:]], axis=1), rate)
    with pytest.raises(FaultyInput) as caught:
        transcribe(str(exported), [tmp_path / "nan.wav", good, tmp_path / "opposed.wav"], "en")
    assert capsys.readouterr().out == f"{good}\t{decoded[0]['transcript']}\n"
    title, nan, opposed = str(caught.value).splitlines()
    assert title == "2 of 3 files not transcribed:"
    assert "nan.wav: contains samples that are not numbers" in nan
    assert "opposed.wav: its channels cancel each other" in opposed
    with pytest.raises(UserError, match=r"nan\.wav: contains samples"):
        transcribe(str(exported), [tmp_path / "nan.wav"], "en")


@pytest.mark.parametrize(
    ("name", "group"), [("French", "French"), ("french", "French"), ("fr", "French"), ("EN", "English-American")]
)
def test_groups_are_found_by_name_or_language(exported: Path, name: str, group: str) -> None:
    assert Transcriber.load(exported).find_group(name) == group


def test_an_unknown_group_and_a_missing_one_are_told(exported: Path) -> None:
    model = Transcriber.load(exported)
    with pytest.raises(UserError, match="'Klingon': expected one of: English-American, "):
        model.find_group("Klingon")
    assert model.find_group(None) in model.processor.groups  # its prompt is English whatever is spoken
    model.recipe["template"] = "reasoning"
    with pytest.raises(UserError, match=r"--group LANGUAGE\. Languages: en, fr, .*; groups: English-American, "):
        model.find_group(None)
    model.processor.groups = {"French": model.processor.groups["French"]}
    assert model.find_group(None) == "French"  # the only language it knows


def test_where_no_group_is_named_it_is_the_one_that_the_model_answered(exported: Path, tones: Path, tmp_path, capsys):
    from mlcslm.cli.transcribe import transcribe

    model = Transcriber.load(exported)
    assert (model.group_of("<LANG_FR>"), model.group_of("<LANG_EN>"), model.group_of(None)) == ("French", None, None)
    wav = cut(pq.read_table(tones).to_pylist()[0], tmp_path / "a.wav")
    transcribe(str(exported), [wav], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["group"] == model.group_of(found["language"])


def test_a_folder_that_is_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found neither mlcslm\.json nor checkpoint\.json"):
        Transcriber.load(tmp_path)


def test_an_export_replaces_an_export_and_nothing_else(exported: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a model export written by mlcslm"):
        export_checkpoint(trained, tmp_path, languages=LANGUAGES)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    before = (exported / "model.safetensors").read_bytes()
    export_checkpoint(trained, exported, languages=LANGUAGES)
    assert (exported / "model.safetensors").read_bytes() == before


def test_turns_of_a_diarizer_are_transcribed_on_their_speakers_channel(exported: Path, tones: Path, tmp_path: Path):
    from mlcslm.decoding.speakers import transcribe_turns
    from mlcslm.diarization.recordings import DiarizedRecording
    from mlcslm.formats.segments import Segment

    model = Transcriber.load(exported)
    rows = pq.read_table(tones).to_pylist()[:2]
    clips = [soundfile.read(cut(row, tmp_path / f"{n}.wav"), dtype="float32")[0] for n, row in enumerate(rows)]
    expected = [model(tmp_path / f"{n}.wav", "en") for n in range(2)]
    seconds = max(map(len, clips)) / 16_000
    channels = [np.pad(clip, (0, round(16_000 * seconds) - len(clip))) for clip in clips]
    turns = [Segment(0.0, len(clip) / 16_000, f"S{n + 1}") for n, clip in enumerate(clips)]
    found = transcribe_turns(model, DiarizedRecording(Path("a.wav"), "a", seconds, channels, turns), "en")
    assert [(one.speaker, one.start, one.end) for one in found] == [(t.speaker, t.start, t.end) for t in turns]
    assert [one.text for one in found] == [" ".join(text.split()) for text in expected]
    with pytest.raises(UserError, match="expected one of"):
        transcribe_turns(model, DiarizedRecording(Path("a.wav"), "a", seconds, channels, turns), "Klingon")
