"""What the samples of a recording show: each file is read once, in blocks, when a manifest is made."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from mlcslm.corpus.audio import CANCELLING, LOUDEST, AudioHeader, cancel_each_other, float_problem, opened
from mlcslm.corpus.faults import FaultKind
from mlcslm.errors import UserError

FRAME_SECONDS = 0.1
"""Levels are taken over frames of this length: an audio token of the model."""
SILENCE_DB = -127
"""Level of frames that are digital silence; that of others is -126 at least."""
_BLOCK_FRAMES = 1024  # of FRAME_SECONDS
# A speaker on each channel (see `_has_a_speaker_a_channel`).
_ACTIVE_DB, _ONE_SIDED_DB, _ONE_SIDED_SHARE, _EACH_SHARE, _ACTIVE_FRAMES, _DEAD_DB = 25, 12, 0.6, 0.1, 20, -60

Levels = npt.NDArray[np.int8]
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Samples:
    """What a recording's samples show.

    peak: largest absolute value, 1 is full scale; levels: of the mean of channels, dB below full scale, of each frame
    of FRAME_SECONDS; clipped: samples at full scale (of any channel) in each frame. Both only where asked for.
    """

    peak: float
    levels: Levels = field(default_factory=lambda: np.empty(0, np.int8), repr=False)
    clipped: Counts = field(default_factory=lambda: np.empty(0, np.int32), repr=False)


@dataclass(frozen=True)
class Inspection:
    """A recording's header, what its samples show, and what is wrong with them: kind and message of each."""

    header: AudioHeader
    samples: Samples
    problems: tuple[tuple[FaultKind, str], ...] = ()


def inspect_audio(path: str | os.PathLike[str], *, levels: bool = False) -> Inspection:
    """Read a recording once, whole. levels: also what `Samples` has of each frame, which takes twice the time.

    Integers are read as 16-bit ones, which takes a tenth of the time that floating point does.
    Raises UserError where the file cannot be read to its end: see `read_header`.
    """
    with opened(path) as file:
        header = AudioHeader(file.samplerate, file.channels, file.frames)
        gathered = _Gathered(header, levels)
        floating = file.subtype in ("FLOAT", "DOUBLE")
        length = max(1, round(FRAME_SECONDS * header.sample_rate))
        size = min(_BLOCK_FRAMES * length, header.frames)
        block = np.empty((size, header.channels), np.float32 if floating else np.int16)
        read = 0
        try:
            while len(frames := file.read(out=block)):
                read += len(frames)
                gathered.add(frames, length)
        except (soundfile.SoundFileError, ValueError) as error:
            raise UserError(f"{path}: cannot be read to its end ({error}). Copy the file again.") from error
        if read < header.frames:
            raise UserError(
                f"{path}: ends after frame {read:,}, its header announces {header.frames:,}. Copy the file again."
            )
    return Inspection(header, gathered.samples(), tuple(gathered.problems()))


class _Gathered:
    """What the blocks of a recording add up to."""

    def __init__(self, header: AudioHeader, levels: bool) -> None:
        self._channels = header.channels
        self._levels_wanted = levels
        self._peak = 0.0
        self._float_problem: str | None = None
        self._channel_power = self._mean_power = 0.0
        self._levels: list[Levels] = []
        self._clipped: list[Counts] = []
        self._channel_levels: list[npt.NDArray[np.float32]] = []

    def add(self, frames: npt.NDArray[Any], length: int) -> None:
        """Take a block (frames, channels) in; length: of a frame, in samples."""
        if frames.dtype == np.int16:
            scale = 32768.0
            peak = max(int(frames.max()), -int(frames.min())) / scale
        else:
            scale = 1.0
            peak = float(max(frames.max(), -frames.min()))
            if not peak <= LOUDEST and self._float_problem is None:
                self._float_problem = float_problem(frames)
        self._peak = max(self._peak, peak) if math.isfinite(peak) else math.inf
        if self._channels == 1 and not self._levels_wanted:
            return
        if self._float_problem is not None:
            return
        floats = frames.astype(np.float32) / np.float32(scale)
        mean = floats[:, 0] if self._channels == 1 else floats.mean(axis=1, dtype=np.float32)
        if self._channels > 1:
            self._channel_power += float(np.dot(floats.ravel(), floats.ravel())) / self._channels
            self._mean_power += float(np.dot(mean, mean))
        if self._channels == 2:
            self._channel_levels.append(_powers(floats, length))
        if self._levels_wanted:
            power = _powers(mean[:, None], length)[:, 0]
            decibels = 10 * np.log10(np.maximum(power, 10**-12.6))
            self._levels.append(np.where(power > 0, np.round(decibels), SILENCE_DB).astype(np.int8))
            full = (np.abs(floats).max(axis=1) >= 1 - 1.5 / 32768).astype(np.float32)
            self._clipped.append((_powers(full[:, None], length)[:, 0] * length).round().astype(np.int32))

    def samples(self) -> Samples:
        """What was gathered."""
        if not self._levels:
            return Samples(self._peak)
        return Samples(self._peak, np.concatenate(self._levels), np.concatenate(self._clipped))

    def problems(self) -> list[tuple[FaultKind, str]]:
        """What is wrong with the samples."""
        if self._float_problem is not None:
            return [(FaultKind.SAMPLES, self._float_problem)]
        if self._channels > 1 and cancel_each_other(self._mean_power, self._channel_power):
            return [(FaultKind.CANCELLING_CHANNELS, CANCELLING)]
        if self._channel_levels and _has_a_speaker_a_channel(np.concatenate(self._channel_levels)):
            message = (
                "has a speaker on each channel. Split it first (`sox FILE left.wav remix 1`), or say that the mean of "
                "both is to be read: --channels mean, `channels: mean` below `corpus:` in a configuration."
            )
            return [(FaultKind.SPEAKER_CHANNELS, message)]
        return []


def _powers(samples: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Mean square (frames, channels) of each frame of `length` samples (samples, channels); the last may be shorter."""
    whole = len(samples) // length * length
    shaped = samples[:whole].reshape(-1, length, samples.shape[1])
    powers = np.einsum("flc,flc->fc", shaped, shaped) / length
    if whole < len(samples):
        powers = np.concatenate([powers, np.mean(np.square(samples[whole:]), axis=0, keepdims=True)])
    return powers


def _has_a_speaker_a_channel(powers: npt.NDArray[np.float32]) -> bool:
    """Whether speech is now on one channel alone and now on the other.

    powers: (frames, 2). Levels are compared with the channel's own loudest ones, so that a channel that is merely
    quieter is no other speaker; a channel without sound has none.
    """
    levels = 10 * np.log10(np.maximum(powers, 1e-12))
    loud = np.percentile(levels, 95, axis=0)
    if (loud < _DEAD_DB).any():
        return False
    levels -= loud
    active = levels[levels.max(axis=1) > -_ACTIVE_DB]
    if len(active) < _ACTIVE_FRAMES:
        return False
    difference = active[:, 0] - active[:, 1]
    left, right = (difference > _ONE_SIDED_DB).mean(), (difference < -_ONE_SIDED_DB).mean()
    return bool(left + right >= _ONE_SIDED_SHARE and min(left, right) >= _EACH_SHARE)
