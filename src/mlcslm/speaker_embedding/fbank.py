"""Log mel filterbank features as in Kaldi, of a whole session at once or of single segments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from mlcslm.corpus.audio import SAMPLE_RATE, Audio

MEL_BINS = 80
FRAME_SAMPLES, SHIFT_SAMPLES = 400, 160
FRAMES_PER_SECOND = SAMPLE_RATE // SHIFT_SAMPLES
_BLOCK = 512
"""Frames at once."""
_FFT = 512
_LOWEST_HZ, _PREEMPHASIS = 20.0, 0.97

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FbankSettings:
    """How the public recipes differ: the analysis window, and the factor applied to samples in [-1, 1].

    After mean normalisation, the factor matters only where a filter's energy falls below Kaldi's floor of 1.2e-7.
    """

    window: Literal["povey", "hamming"] = "povey"
    factor: float = 1.0


DEFAULT_SETTINGS = FbankSettings()


def fbank(audio: Audio, settings: FbankSettings = DEFAULT_SETTINGS) -> Features:
    """(frames, 80) float32 of 16 kHz `audio` (samples,): 25 ms frames every 10 ms, no dither, no mean normalisation.

    Frames do not extend beyond the audio (Kaldi's snip-edges), so frame t depends only on samples 160 t to 160 t + 400.
    Audio shorter than a frame is padded with silence to one.
    """
    if len(audio) < FRAME_SAMPLES:
        audio = np.pad(audio, (0, FRAME_SAMPLES - len(audio)))
    features = np.empty((frame_count(len(audio)), MEL_BINS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(audio, FRAME_SAMPLES)[::SHIFT_SAMPLES]
    window = _window(settings.window) * np.float32(settings.factor)
    block = np.zeros((_BLOCK, _FFT), np.float32)
    for first in range(0, len(features), _BLOCK):
        count = min(_BLOCK, len(features) - first)
        samples = block[:, :FRAME_SAMPLES]
        samples[:count] = frames[first : first + count]
        samples -= samples.mean(axis=1, keepdims=True)
        # The sample before the first one is taken to equal it.
        samples[:, 1:] -= _PREEMPHASIS * samples[:, :-1].copy()
        samples[:, 0] *= np.float32(1 - _PREEMPHASIS)
        samples *= window
        spectrum = rfft(block)  # six times as fast as numpy's
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        features[first : first + count] = np.log(np.maximum(_mel(power), np.finfo(np.float32).eps)[:count])
    return features


@cache
def _window(name: Literal["povey", "hamming"]) -> Features:
    """(FRAME_SAMPLES,) the analysis window; Povey's is Hann's to the power of 0.85."""
    window = np.hanning(FRAME_SAMPLES) ** 0.85 if name == "povey" else np.hamming(FRAME_SAMPLES)
    return window.astype(np.float32)


def _mel(power: Features) -> Features:
    """(frames, _FFT / 2 + 1) -> (frames, MEL_BINS): sums under triangles, equally wide in mel.

    Not a matrix product, which rounds differently for different numbers of frames: features of a window must equal
    those of the session there, to the bit.
    """
    rising, starts, filled = _mel_filters()
    up = power * rising
    sums = [np.add.reduceat(part, starts, axis=1)[:, :-1] * filled for part in (up, power - up)]
    return sums[0][:, :-1] + sums[1][:, 1:]


@cache
def _mel_filters() -> tuple[Features, npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Of triangles between `_LOWEST_HZ` and half the rate, each beginning in the middle of the one before.

    Weight of each frequency (_FFT / 2 + 1,) in the triangle that rises there, which is 1 less its weight in the one
    that falls; the first frequency of each of the MEL_BINS + 1 stretches between corners, and the end; whether a
    stretch has any.
    """

    def mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)

    corners = np.linspace(mel(_LOWEST_HZ), mel(SAMPLE_RATE / 2), MEL_BINS + 2)
    at = mel(np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT)
    starts = np.searchsorted(at, corners[:-1])
    end = _FFT // 2  # half the rate is the last corner, and of no weight
    rising = (at - corners[np.maximum(np.searchsorted(corners, at, side="right") - 1, 0)]) / (corners[1] - corners[0])
    return rising.astype(np.float32), np.append(starts, end), np.diff(np.append(starts, end)) > 0


def frame_count(samples: int) -> int:
    """Number of frames in `samples`, at least one.

    >>> frame_count(24_000), frame_count(400), frame_count(10)
    (148, 1, 1)
    """
    return max(1, 1 + (samples - FRAME_SAMPLES) // SHIFT_SAMPLES)


def frames_of_window(start: float, end: float, available: int) -> tuple[int, int]:
    """First frame and end frame of `start` to `end` (seconds) in the features of a session of `available` frames.

    As many frames as the window would have by itself, from the frame nearest to its start. They equal the window's own
    features if it starts at a multiple of 10 ms; otherwise those of a window shifted by at most 5 ms. A window beyond
    the session's end is truncated there, but keeps at least one frame.

    >>> frames_of_window(0.75, 2.25, 1000)
    (75, 223)
    """
    first = min(round(start * FRAMES_PER_SECOND), available - 1)
    return first, min(first + frame_count(round((end - start) * SAMPLE_RATE)), available)
