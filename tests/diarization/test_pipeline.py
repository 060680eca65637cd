"""Whole sessions: who speaks when, whatever else is in the batch, and sessions that are odd or broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from mlcslm.corpus.manifest import SCHEMA
from mlcslm.diarization.pipeline import SEGMENTS_SCHEMA, Diarizer, diarize_manifest
from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.diarizer_output import write_turns
from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.segments import Segment, in_pieces
from mlcslm.speaker_embedding.embedding import Parts

RATE = 16_000


class LoudParts:
    """A detector: the stretches of 50 ms that are not silent, joined over less than 0.3 s."""

    def __init__(self, max_segment_s: float) -> None:
        self.max_segment_s = max_segment_s

    def __call__(self, waveform: np.ndarray) -> list[Segment]:
        blocks = waveform[: len(waveform) // 800 * 800].reshape(-1, 800)
        segments: list[Segment] = []
        for number in np.flatnonzero((blocks**2).mean(axis=1) > 1e-5):
            start, end = number / 20, (number + 1) / 20
            if segments and start - segments[-1].end < 0.3:
                segments[-1] = Segment(segments[-1].start, end)
            else:
                segments.append(Segment(start, end))
        return in_pieces(segments, self.max_segment_s)


class MeanSpectrum:
    """An embedder: the mean log spectrum of a window. In batches, as a network: they change nothing."""

    def embed_windows(
        self, audio: np.ndarray, windows: Sequence[tuple[float, float]], batch_size: int = 64
    ) -> np.ndarray:
        return np.stack([self._embed(audio[round(a * RATE) : round(b * RATE)]) for a, b in windows])

    def embed_parts(
        self,
        audio: np.ndarray,
        windows: Sequence[tuple[float, float]],
        length_s: float,
        step_s: float,
        batch_size: int = 64,
    ) -> tuple[np.ndarray, Parts]:
        spans = [
            [(start, start + length_s) for start in np.arange(first, end - length_s + 1e-9, step_s)] or [(first, end)]
            for first, end in windows
        ]
        flat = [span for own in spans for span in own]
        counts = np.cumsum([0, *map(len, spans)])
        parts = Parts(self.embed_windows(audio, flat), np.array([(a + b) / 2 for a, b in flat]), counts)
        return self.embed_windows(audio, windows), parts

    def _embed(self, audio: np.ndarray) -> np.ndarray:
        frames = np.resize(audio, (max(1, len(audio) // 512), 512))
        log = np.log(np.abs(np.fft.rfft(frames * np.hanning(512))) + 1e-2).mean(axis=0)
        return (log - log.mean()).astype(np.float32)


def voice(pitch: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A hum whose overtones tell it from others."""
    time = np.arange(round(seconds * RATE)) / RATE
    hum = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in (1, 2, 3, 5))
    return (0.1 * hum + rng.normal(0, 0.002, len(time))).astype(np.float32)


def conversation(turns: int, seed: int, pitches: Sequence[float] = (130.0, 410.0)) -> tuple[np.ndarray, list[Segment]]:
    """Two voices in turns of one to four seconds with half a second between, and where they are."""
    rng = np.random.default_rng(seed)
    audio, spoken = [np.zeros(RATE // 2, np.float32)], []
    for turn in range(turns):
        start = sum(map(len, audio)) / RATE
        sound = voice(pitches[turn % len(pitches)], float(rng.integers(4, 17)) / 4, rng)
        audio += [sound, np.zeros(RATE // 2, np.float32)]
        spoken.append(Segment(start, start + len(sound) / RATE, f"O{turn % len(pitches) + 1}"))
    return np.concatenate(audio), spoken


def diarizer(max_segment_s: float = 8.0, **settings) -> Diarizer:
    return Diarizer(LoudParts(max_segment_s), MeanSpectrum(), **settings)


@pytest.fixture
def write_manifest(tmp_path: Path) -> Callable[[dict[str, np.ndarray]], Path]:
    """Manifest of sessions of the French group from their audio by name; one utterance each, which nothing reads."""

    def write(sessions: dict[str, np.ndarray]) -> Path:
        rows = []
        for name, audio in sessions.items():
            path = tmp_path / f"{name}.wav"
            soundfile.write(path, audio, RATE)
            usual = {"grp": "French", "speaker": "O1", "turn": 0, "start": 0.0, "end": 0.1, "sample_rate": RATE}
            rows.append({"utterance_id": name, "session_id": f"French_{name}", "audio": str(path), "text": ""} | usual)
        manifest = tmp_path / "dev.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), manifest)
        return manifest

    return write


def test_two_voices_are_told_apart() -> None:
    audio, spoken = conversation(20, seed=1)
    found = diarizer()(audio)
    # Voices in order of appearance are O1 and O2; detector and audio agree to 50 ms.
    assert [segment.speaker for segment in found] == [segment.speaker.replace("O", "S") for segment in spoken]
    for segment, turn in zip(found, spoken, strict=True):
        assert (segment.start, segment.end) == (pytest.approx(turn.start, abs=0.06), pytest.approx(turn.end, abs=0.06))


@pytest.mark.parametrize(("resegment", "within"), [(False, 0.75), (True, 0.3)])
def test_a_turn_changes_within_a_segment_of_speech(resegment: bool, within: float) -> None:
    rng = np.random.default_rng(0)
    audio = np.concatenate([voice(130, 5.8, rng), voice(410, 6.2, rng)] * 4)
    found = diarizer(60.0, num_speakers=2, resegment=resegment)(audio)
    assert [segment.speaker for segment in found] == ["S1", "S2"] * 4
    for number, segment in enumerate(found):
        assert segment.start == pytest.approx(6 * number - 0.2 * (number % 2), abs=within)


@pytest.mark.parametrize("keep", [True, False])
def test_the_longest_segment_reaches_the_rttm(write_manifest, languages, tmp_path: Path, keep: bool) -> None:
    rng = np.random.default_rng(0)
    manifest = write_manifest({"long": voice(130, 50, rng)})
    segments = tmp_path / "segments.parquet"
    recordings, _ = diarize_manifest(manifest, diarizer(keep_vad_boundaries=keep), languages, segments)
    write_turns(segments, recordings, tmp_path / "rttm")
    turns = read_rttm(tmp_path / "rttm" / "French_long.rttm")["French_long"]
    rows = pq.read_table(segments).to_pylist()
    assert [(row["start"], row["end"], row["speaker"]) for row in rows] == [(t.start, t.end, t.speaker) for t in turns]
    assert (turns[0].start, turns[-1].end) == (0.0, 50.0)
    # Without the boundaries, the cuts at 8 s are undone: the stock recipe's way.
    assert (max(round(1000 * turn.duration) for turn in turns) <= 8000) is keep
    assert (len(turns) == 1) is not keep


@pytest.mark.parametrize(
    ("session", "speakers"),
    [
        (np.zeros(40 * RATE, np.float32), 0),
        (np.zeros(1, np.float32), 0),
        (voice(200, 0.5, np.random.default_rng(0)), 1),
        (conversation(3, 0, (220.0,))[0], 1),
        (conversation(30, 0, (220.0,))[0], 1),
    ],
    ids=["silence", "one sample", "half a second", "one speaker, short", "one speaker, long"],
)
def test_odd_sessions_work(session: np.ndarray, speakers: int) -> None:
    found = diarizer()(session)
    assert len({segment.speaker for segment in found}) == speakers


def test_a_repeated_session_has_the_same_speakers() -> None:
    audio, spoken = conversation(20, seed=3)
    repetitions = 900 * RATE // len(audio)  # a quarter of an hour
    found = diarizer()(np.tile(audio, repetitions))
    assert [s.speaker for s in found] == [s.speaker.replace("O", "S") for s in spoken] * repetitions


def test_known_number_of_speakers() -> None:
    audio, _ = conversation(12, seed=2, pitches=(120.0, 260.0, 430.0))
    assert len({segment.speaker for segment in diarizer(num_speakers=2)(audio)}) == 2


def test_neither_order_of_sessions_nor_batch_size_matters(write_manifest, languages, tmp_path: Path) -> None:
    sessions = {f"{n:04d}_001": conversation(8 + n, seed=n)[0] for n in range(4)}
    written = []
    for order, batch_size in ((1, 64), (-1, 3)):
        manifest = write_manifest(dict(list(sessions.items())[::order]))
        out = tmp_path / f"segments{order}.parquet"
        recordings, _ = diarize_manifest(manifest, diarizer(batch_size=batch_size), languages, out)
        write_turns(out, recordings, tmp_path / f"rttm{order}")
        written.append({f.name: f.read_bytes() for f in (tmp_path / f"rttm{order}").iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) == 4


def test_segments_are_utterances_with_official_ids(write_manifest, languages, tmp_path: Path) -> None:
    manifest = write_manifest({"0517_007": conversation(4, seed=0)[0]})
    diarize_manifest(manifest, diarizer(), languages, tmp_path / "segments.parquet")
    table = pq.read_table(tmp_path / "segments.parquet")
    assert table.schema.equals(SEGMENTS_SCHEMA)
    first = table.to_pylist()[0]
    assert (first["recording"], first["session_id"], first["grp"]) == ("French_0517_007", "French_0517_007", "French")
    start, end = round(100 * first["start"]), round(100 * first["end"])
    assert first["utterance_id"] == f"French-0517_007-S1-{start:06d}-{end:06d}"
    assert table["turn"].to_pylist() == list(range(table.num_rows))


def test_a_silent_session_has_an_empty_rttm(write_manifest, languages, tmp_path: Path) -> None:
    manifest = write_manifest({"0001_001": np.zeros(RATE, np.float32)})
    recordings, faults = diarize_manifest(manifest, diarizer(), languages, tmp_path / "segments.parquet")
    write_turns(tmp_path / "segments.parquet", recordings, tmp_path / "rttm")
    assert faults == []
    assert (tmp_path / "rttm" / "French_0001_001.rttm").read_text() == ""


@pytest.mark.parametrize("damage", ["cut short", "no audio", "missing", "not a number"])
def test_a_corrupt_session_is_named_or_left_out(write_manifest, languages, tmp_path: Path, damage: str) -> None:
    audio, _ = conversation(6, seed=0)
    manifest = write_manifest({"good": audio, "bad": audio})
    bad, out = tmp_path / "bad.wav", tmp_path / "segments.parquet"
    if damage == "cut short":
        bad.write_bytes(bad.read_bytes()[:-1000])
    elif damage == "no audio":
        bad.write_text("this is no wav file")
    elif damage == "missing":
        bad.unlink()
    else:
        audio = audio.copy()
        audio[100] = np.nan
        soundfile.write(bad, audio, RATE, subtype="FLOAT")
    with pytest.raises(UserError) as caught:
        diarize_manifest(manifest, diarizer(), languages, out)
    assert str(bad) in str(caught.value) and str(tmp_path / "good.wav") not in str(caught.value)
    assert not out.exists()

    recordings, faults = diarize_manifest(manifest, diarizer(), languages, out, skip_faulty=True)
    assert recordings == ["French_good"]
    assert [fault.path for fault in faults] == [str(bad)]
    assert set(pq.read_table(out)["recording"].to_pylist()) == {"French_good"}


def test_nothing_but_corrupt_sessions_is_an_error(write_manifest, languages, tmp_path: Path) -> None:
    manifest = write_manifest({"bad": np.zeros(10, np.float32)})
    (tmp_path / "bad.wav").unlink()
    with pytest.raises(FaultyInput, match=r"1 fault in 1 file"):
        diarize_manifest(manifest, diarizer(), languages, tmp_path / "segments.parquet", skip_faulty=True)
