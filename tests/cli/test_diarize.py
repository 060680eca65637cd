"""`mlcslm diarize` and `mlcslm transcribe --speakers`: files of any kind in, files of any kind out, faults told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from mlcslm.cli import diarize
from mlcslm.corpus.media import read_channels
from mlcslm.diarization import recordings
from mlcslm.diarization.pipeline import Diarizer
from mlcslm.errors import UserError
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.segments import Segment

RATE = 16_000
LOAD = recordings.load_diarizer


class Loud:
    """A detector: all of what is not silent, as one segment."""

    max_segment_s = 60.0

    def __call__(self, waveform: np.ndarray) -> list[Segment]:
        loud = np.flatnonzero(np.abs(waveform) > 0.05)
        return [Segment(round(loud[0] / RATE, 1), round(loud[-1] / RATE, 1))] if len(loud) else []


class Alike:
    """An embedder that hears one voice."""

    def embed_windows(self, audio: np.ndarray, windows, batch_size: int = 64) -> np.ndarray:
        return np.ones((len(windows), 4), np.float32)


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "load_diarizer", lambda *_, **__: Diarizer(Loud(), Alike(), resegment=False))
    monkeypatch.setattr("mlcslm.diarization.vad.make_detector", lambda *_, **__: Loud())


def run(*arguments: object) -> tuple[str, BaseException | None]:
    application = typer.Typer()
    diarize.register(application)
    application.callback()(lambda: None)
    done = CliRunner().invoke(application, ["diarize", *map(str, arguments)])
    return done.stdout, done.exception


def tone(start: float, end: float, seconds: float) -> np.ndarray:
    audio = np.zeros(round(seconds * RATE), np.float32)
    time = np.arange(round((end - start) * RATE)) / RATE
    audio[round(start * RATE) : round(start * RATE) + len(time)] = 0.3 * np.sin(2 * np.pi * 300 * time)
    return audio


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_any_file_gives_turns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a call.{suffix}"
    soundfile.write(path, tone(1, 3, 4), RATE)
    out, error = run(path)
    assert error is None
    fields = out.split()
    assert fields[:3] == ["SPEAKER", "a_call", "1"] and fields[7] == "S1"
    assert (float(fields[3]), float(fields[4])) == (pytest.approx(1, abs=0.11), pytest.approx(2, abs=0.11))


def test_m4a_is_decoded(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path, audio = tmp_path / "a.m4a", np.stack([tone(1, 3, 4), tone(0, 1, 4)])
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    left, right = read_channels(path)
    assert len(left) / RATE == pytest.approx(4, abs=0.2)
    assert np.abs(left[RATE * 2 : RATE * 2 + 1000]).max() > 0.2 > 0.02 > np.abs(right[RATE * 2 : RATE * 2 + 1000]).max()
    path.write_bytes(b"no audio")
    with pytest.raises(UserError, match="cannot be read as audio"):
        read_channels(path)


def test_m4a_without_its_decoder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"")
    with pytest.raises(UserError, match=r"pip install 'mlcslm\[m4a\]'"):
        read_channels(tmp_path / "a.m4a")


def test_each_channel_is_a_speaker(tmp_path: Path) -> None:
    channels = [tone(number, number + 1.5, 10) for number in range(8)]
    channels[3] = np.zeros_like(channels[3])
    soundfile.write(tmp_path / "eight.wav", np.stack(channels, axis=1), RATE)
    out, error = run(tmp_path / "eight.wav", "--channels", "speakers", "--format", "json")
    assert error is None
    found = [(one["speaker"], float(one["start_time"])) for one in json.loads(out)]
    assert found == [(f"S{number + 1}", pytest.approx(number, abs=0.11)) for number in range(8) if number != 3]
    soundfile.write(tmp_path / "mono.wav", channels[0], RATE)
    _, error = run(tmp_path / "mono.wav", "--channels", "speakers")
    assert "has one channel" in str(error)


def test_files_are_written_one_a_recording(tmp_path: Path) -> None:
    paths = [tmp_path / "a.wav", tmp_path / "b.wav"]
    for path in paths:
        soundfile.write(path, tone(1, 2, 3), RATE)
    out, error = run(*paths, "--format", "textgrid", "--out", tmp_path / "out")
    assert (out, error) == ("", None)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["a.TextGrid", "b.TextGrid"]
    _, error = run(*paths, "--format", "srt")
    assert "one file each" in str(error) and "--out" in str(error)
    (tmp_path / "all.rttm").write_text(run(*paths)[0])
    assert list(read_rttm(tmp_path / "all.rttm")) == ["a", "b"]


def test_silence_has_no_turns_and_a_bad_file_stops_no_other(tmp_path: Path) -> None:
    silent, bad, good = tmp_path / "silent.wav", tmp_path / "bad.wav", tmp_path / "good.wav"
    soundfile.write(silent, np.zeros(RATE // 2), RATE)
    bad.write_text("no audio")
    soundfile.write(good, tone(0, 1, 2), RATE)
    assert run(silent) == ("", None)
    out, error = run(silent, bad, good)
    assert out.startswith("SPEAKER good") and len(out.splitlines()) == 1
    assert "skipped 1 of 3 files" in str(error) and "bad.wav: cannot be read as audio" in str(error)
    _, error = run(bad)
    assert isinstance(error, UserError) and "expected wav, flac, mp3, ogg or m4a" in str(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", "speakers", "--num-speakers", "2"], "as many speakers as channels"),
        (["{same}"], "2 recordings named a: nothing would tell them apart"),
    ],
)
def test_impossible_requests_are_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a.wav", tmp_path / "b" / "a.wav"):
        soundfile.write(path, tone(0, 1, 2), RATE)
    _, error = run(tmp_path / "a.wav", *(one.format(same=tmp_path / "b" / "a.wav") for one in arguments))
    assert message in str(error)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_speakers": 2, "max_speakers": 3}, "one or the other"),
        ({"min_speakers": 4, "max_speakers": 3}, "impossible"),
        ({"embedding": "/nowhere"}, "no such file or folder"),
    ],
)
def test_what_no_diarizer_can_be_made_of_is_told(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LOAD(**given)
