"""Silero: the package's own probabilities and segments, and cuts where speech is weakest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlcslm.diarization.silero import FRAME, FRAME_MS, PACKAGE_SETTINGS, SileroDetector, load_silero
from mlcslm.diarization.speech import speech_segments
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment

SENTENCES = ("Where is the station?", "It is behind the market, next to the old church.", "Thank you very much.")


@pytest.fixture(scope="module")
def package():
    threads = torch.get_num_threads()
    import silero_vad

    torch.set_num_threads(threads)
    return silero_vad


def bursts(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that comes and goes, as loud as speech and as silence."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * 16_000)
    loudness = np.repeat(rng.choice([0.0, 0.001, 0.1, 0.5], samples // 800 + 1), 800)[:samples]
    return (loudness * rng.normal(0, 0.3, samples)).astype(np.float32)


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, list[Segment]]:
    """Three sentences of espeak-ng with pauses of 0.6 s, and where they are."""
    from mlcslm.corpus.demo.synthesis import Voice, speak_many

    voice = Voice("en-us", "m3", 50, 50, 160)
    audio, turns = [np.zeros(9600, np.float32)], []
    for sentence in next(speak_many([[(voice, text) for text in SENTENCES]], workers=1)):
        start = sum(map(len, audio)) / 16_000
        turns.append(Segment(start, start + len(sentence) / 16_000))
        audio += [sentence, np.zeros(9600, np.float32)]
    return np.concatenate(audio), turns


@pytest.mark.parametrize("samples", [1, FRAME, 40 * FRAME + 100])
def test_probabilities_are_the_packages(package, samples: int) -> None:
    waveform = torch.from_numpy(bursts(3)[:samples])
    theirs = package.load_silero_vad().audio_forward(
        torch.nn.functional.pad(waveform, (0, -samples % FRAME))[None], 16_000
    )
    with torch.inference_mode():
        ours = load_silero()(waveform)
    torch.testing.assert_close(ours, theirs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_segments_are_the_packages(package, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Probabilities that stay for a while, so that stretches and pauses of all lengths come up.
    probabilities = np.repeat(rng.uniform(0, 1, 60), rng.integers(1, 12, 60)).astype(np.float32)
    samples = len(probabilities) * FRAME - int(rng.integers(FRAME // 16)) * 16
    theirs = package.get_speech_timestamps_from_probs(probabilities.tolist(), audio_length_samples=samples)
    ours = speech_segments(probabilities, samples // 16, PACKAGE_SETTINGS, frame_ms=FRAME_MS)
    assert [(round(16_000 * s.start), round(16_000 * s.end)) for s in ours] == [(t["start"], t["end"]) for t in theirs]


def test_long_speech_is_cut_where_it_is_weakest() -> None:
    probabilities = np.full(400, 0.99, np.float32)  # 12.8 s
    probabilities[[100, 150, 200]] = 0.9, 0.6, 0.5
    first, second = speech_segments(probabilities, 12_800, PACKAGE_SETTINGS, frame_ms=FRAME_MS, max_segment_s=8.0)
    # Frame 100 is before the second half of 8 s; frame 200 is weaker than 150. Its middle is 6.4 + 0.016 s.
    assert (first.start, first.end) == (0.0, 6.416)
    assert (second.start, second.end) == (6.416, 12.8)


@pytest.mark.parametrize("limit", [1.0, 2.5, 8.0])
def test_pieces_keep_to_the_limit_and_lose_nothing(limit: float) -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.uniform(0.4, 1, 2000).astype(np.float32)
    probabilities[rng.integers(0, 2000, 20)] = 0.0
    whole = speech_segments(probabilities, 64_000, PACKAGE_SETTINGS, frame_ms=FRAME_MS)
    pieces = speech_segments(probabilities, 64_000, PACKAGE_SETTINGS, frame_ms=FRAME_MS, max_segment_s=limit)
    assert max(round(1000 * piece.duration) for piece in pieces) <= 1000 * limit
    assert min(round(1000 * piece.duration) for piece in pieces) >= 1000 * limit / 4 - 32
    joined = [pieces[0]]
    for piece in pieces[1:]:
        touches = piece.start == joined[-1].end
        joined = [*joined[:-1], type(piece)(joined[-1].start, piece.end)] if touches else [*joined, piece]
    assert sum(s.duration for s in joined) == pytest.approx(sum(s.duration for s in whole))
    assert {s.start for s in whole} <= {s.start for s in joined}


@pytest.mark.parametrize("samples", [1, 512, 10 * 512, 10 * 512 + 1, 35 * 512 - 1])
def test_blocks_leave_no_trace(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are computed in blocks of frames; here of ten."""
    network = load_silero()
    audio = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, samples).astype(np.float32))
    with torch.inference_mode():
        whole = network(audio)
        monkeypatch.setattr("mlcslm.diarization.silero._BLOCK", 10)
        torch.testing.assert_close(network(audio), whole, rtol=0, atol=1e-6)


def test_silence_and_nothing_hold_no_speech() -> None:
    detector = SileroDetector(8.0, PACKAGE_SETTINGS)
    assert detector(np.zeros(0, np.float32)) == []
    assert detector(np.zeros(80_000, np.float32)) == []


def test_speech_is_found(speech) -> None:
    waveform, turns = speech
    found = SileroDetector(8.0, PACKAGE_SETTINGS)(waveform)
    heard = np.zeros(len(waveform), bool)
    for segment in found:
        heard[round(16_000 * segment.start) : round(16_000 * segment.end)] = True
    spoken = np.zeros(len(waveform), bool)
    for turn in turns:
        spoken[round(16_000 * turn.start) : round(16_000 * turn.end)] = True
    assert (heard == spoken).mean() > 0.9


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"no package silero-vad .* pip install"):
        load_silero()
