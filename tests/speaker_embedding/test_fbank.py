from __future__ import annotations

import numpy as np
import pytest

from mlcslm.speaker_embedding.fbank import FbankSettings, fbank, frames_of_window

RNG = np.random.default_rng(0)


def kaldi_by_hand(audio: np.ndarray, window: np.ndarray, factor: float) -> np.ndarray:
    """Kaldi's recipe, step by step in float64: mean off, pre-emphasis, window, power, HTK mel filters, log."""
    frames = np.lib.stride_tricks.sliding_window_view(audio.astype(np.float64) * factor, 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log1p(np.asarray(hertz) / 700)

    corners = np.linspace(mel(20), mel(8000), 82)
    at = mel(np.arange(257) * 16_000 / 512)
    rising = (at - corners[:-2, None]) / (corners[1] - corners[0])
    falling = (corners[2:, None] - at) / (corners[1] - corners[0])
    return np.log(np.maximum(power @ np.maximum(0, np.minimum(rising, falling)).T, 1.1920929e-07))


@pytest.mark.parametrize(
    ("settings", "window"),
    [(FbankSettings(), np.hanning(400) ** 0.85), (FbankSettings("hamming", 32768.0), np.hamming(400))],
    ids=["3D-Speaker", "WeSpeaker"],
)
def test_features_are_kaldis(settings: FbankSettings, window: np.ndarray) -> None:
    audio = RNG.normal(0, 0.1, 16_000).astype(np.float32)
    found = fbank(audio, settings)
    assert found.shape == (98, 80)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, kaldi_by_hand(audio, window, settings.factor), atol=2e-3)


@pytest.mark.parametrize("settings", [FbankSettings(), FbankSettings("hamming", 32768.0)])
def test_features_are_those_of_the_package_kaldi_native_fbank(settings: FbankSettings) -> None:
    package = pytest.importorskip("kaldi_native_fbank")
    options = package.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = settings.window
    options.mel_opts.num_bins = 80
    audio = (RNG.normal(0, 0.1, 40_000) * np.linspace(0.01, 1, 40_000)).astype(np.float32)
    extractor = package.OnlineFbank(options)
    extractor.accept_waveform(16_000, audio * np.float32(settings.factor))
    extractor.input_finished()
    expected = np.stack([extractor.get_frame(frame) for frame in range(extractor.num_frames_ready)])
    np.testing.assert_allclose(fbank(audio, settings), expected, atol=1e-3)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.5), (0.75, 2.25), (1.37, 1.9), (4.99, 5.0)])
def test_windows_of_a_sessions_features_are_those_of_the_windows_samples(start: float, end: float) -> None:
    audio = RNG.normal(0, 0.1, 5 * 16_000).astype(np.float32)
    features = fbank(audio)
    first, last = frames_of_window(start, end, len(features))
    alone = fbank(audio[round(start * 16_000) : round(end * 16_000)])
    if end - start >= 0.025:
        np.testing.assert_array_equal(features[first:last], alone)
    else:
        assert last - first == len(alone) == 1


def test_a_window_beyond_the_end_is_cut_but_never_to_nothing() -> None:
    assert frames_of_window(9.0, 10.5, 930) == (900, 930)
    assert frames_of_window(20.0, 21.5, 930) == (929, 930)


@pytest.mark.parametrize("samples", [399, 400, 559, 560, 1999, 2000, 2001, 5000])
def test_blocks_leave_no_trace(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are computed in blocks of frames; here of sixteen, with ends on both sides of a block's."""
    audio = np.random.default_rng(1).normal(0, 0.1, samples).astype(np.float32)
    whole = fbank(audio)
    monkeypatch.setattr("mlcslm.speaker_embedding.fbank._BLOCK", 16)
    np.testing.assert_array_equal(fbank(audio), whole)


def test_less_than_a_frame_and_silence_give_finite_features() -> None:
    assert fbank(np.ones(10, np.float32)).shape == (1, 80)
    silence = fbank(np.zeros(16_000, np.float32))
    assert np.isfinite(silence).all()
    assert np.ptp(silence) == 0
