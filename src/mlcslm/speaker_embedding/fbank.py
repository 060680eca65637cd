"""Log mel filterbank features as in Kaldi, of a whole session at once or of single segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import kaldi_native_fbank
import numpy as np
import numpy.typing as npt

from mlcslm.corpus.audio import SAMPLE_RATE, Audio

MEL_BINS = 80
FRAME_SAMPLES, SHIFT_SAMPLES = 400, 160
FRAMES_PER_SECOND = SAMPLE_RATE // SHIFT_SAMPLES
_BLOCK = 60 * FRAMES_PER_SECOND

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
    options = _options(settings)
    # In blocks: Kaldi keeps copies of what it is given, which for a session of two hours are a gigabyte.
    for first in range(0, len(features), _BLOCK):
        end = min(first + _BLOCK, len(features))
        samples = audio[first * SHIFT_SAMPLES : (end - 1) * SHIFT_SAMPLES + FRAME_SAMPLES]
        extractor = kaldi_native_fbank.OnlineFbank(options)
        extractor.accept_waveform(SAMPLE_RATE, np.ascontiguousarray(samples * np.float32(settings.factor), np.float32))
        extractor.input_finished()
        for frame in range(first, end):
            features[frame] = extractor.get_frame(frame - first)
    return features


def _options(settings: FbankSettings) -> kaldi_native_fbank.FbankOptions:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = settings.window
    options.mel_opts.num_bins = MEL_BINS
    return options


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
