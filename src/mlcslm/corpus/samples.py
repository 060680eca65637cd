"""Statistics and faults of a recording's samples: each file is read once, in blocks, when a manifest is created."""

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
"""Frame length of levels: one audio token of the model."""
SILENCE_DB = -127
"""Level of digitally silent frames; all others have at least -126."""
_BLOCK_FRAMES = 1024  # of FRAME_SECONDS
# One speaker per channel (see `_has_speaker_per_channel`).
_ACTIVE_DB, _ONE_SIDED_DB, _ONE_SIDED_SHARE, _EACH_SHARE, _ACTIVE_FRAMES, _DEAD_DB = 25, 12, 0.6, 0.1, 20, -60

Levels = npt.NDArray[np.int8]
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Samples:
    """Statistics of a recording's samples.

    peak: largest absolute value, 1 is full scale; offset: mean of all samples, 0 of sound; levels: of the mean of
    channels, in dBFS without a frame's own offset, per frame of FRAME_SECONDS; clipped: samples at full scale (in any
    channel) per frame. Both only on request.
    """

    peak: float
    levels: Levels = field(default_factory=lambda: np.empty(0, np.int8), repr=False)
    clipped: Counts = field(default_factory=lambda: np.empty(0, np.int32), repr=False)
    offset: float = 0.0


@dataclass(frozen=True)
class Inspection:
    """A recording's header, the statistics of its samples, and its problems (kind and message)."""

    header: AudioHeader
    samples: Samples
    problems: tuple[tuple[FaultKind, str], ...] = ()


def inspect_audio(path: str | os.PathLike[str], *, levels: bool = False) -> Inspection:
    """Read a whole recording once. levels: also compute the per-frame statistics of `Samples`, which doubles the time.

    Integers are read as 16 bits, which takes a tenth of the time of floating point.
    Raises UserError if the file cannot be read to its end: see `read_header`.
    """
    with opened(path) as file:
        header = AudioHeader(file.samplerate, file.channels, file.frames)
        accumulator = _Accumulator(header, levels)
        floating = file.subtype in ("FLOAT", "DOUBLE")
        length = max(1, round(FRAME_SECONDS * header.sample_rate))
        size = min(_BLOCK_FRAMES * length, header.frames)
        block = np.empty((size, header.channels), np.float32 if floating else np.int16)
        read = 0
        try:
            while len(frames := file.read(out=block)):
                read += len(frames)
                accumulator.add(frames, length)
        except (soundfile.SoundFileError, ValueError) as error:
            raise UserError(f"{path}: cannot be read to the end ({error}). Copy the file again.") from error
        if read < header.frames:
            raise UserError(
                f"{path}: ends after frame {read:,}, its header declares {header.frames:,}. Copy the file again."
            )
    return Inspection(header, accumulator.samples(), tuple(accumulator.problems()))


class _Accumulator:
    """Accumulates the statistics of a recording's blocks."""

    def __init__(self, header: AudioHeader, levels: bool) -> None:
        self._channels = header.channels
        self._with_levels = levels
        self._peak = self._sum = 0.0
        self._samples = 0
        self._float_problem: str | None = None
        self._channel_power = self._mean_power = 0.0
        self._levels: list[Levels] = []
        self._clipped: list[Counts] = []
        self._channel_levels: list[npt.NDArray[np.float32]] = []

    def add(self, frames: npt.NDArray[Any], length: int) -> None:
        """Add a block (frames, channels). length: of a frame, in samples."""
        if frames.dtype == np.int16:
            scale = 32768.0
            peak = max(int(frames.max()), -int(frames.min())) / scale
        else:
            scale = 1.0
            peak = float(max(frames.max(), -frames.min()))
            if not peak <= LOUDEST and self._float_problem is None:
                self._float_problem = float_problem(frames)
        self._peak = max(self._peak, peak) if math.isfinite(peak) else math.inf
        if math.isfinite(peak):
            self._sum += float(frames.sum(dtype=np.int64 if frames.dtype == np.int16 else np.float64)) / scale
            self._samples += frames.size
        if self._channels == 1 and not self._with_levels:
            return
        if self._float_problem is not None:
            return
        floats = frames.astype(np.float32) / np.float32(scale)
        mean = floats[:, 0] if self._channels == 1 else floats.mean(axis=1, dtype=np.float32)
        if self._channels > 1:
            channels = _powers(floats, length)
            self._channel_power += float(channels.mean(axis=1).sum())
            self._mean_power += float(_powers(mean[:, None], length).sum())
            if self._channels == 2:
                self._channel_levels.append(channels)
        if self._with_levels:
            power = _powers(mean[:, None], length)[:, 0]
            decibels = 10 * np.log10(np.maximum(power, 10**-12.6))
            self._levels.append(np.where(power > 0, np.round(decibels), SILENCE_DB).astype(np.int8))
            full = (np.abs(floats).max(axis=1) >= 1 - 1.5 / 32768).astype(np.int32)
            self._clipped.append(np.add.reduceat(full, np.arange(0, len(full), length)).astype(np.int32))

    def samples(self) -> Samples:
        """Statistics so far."""
        if not self._levels:
            return Samples(self._peak, offset=self._offset)
        return Samples(self._peak, np.concatenate(self._levels), np.concatenate(self._clipped), self._offset)

    @property
    def _offset(self) -> float:
        return self._sum / max(1, self._samples)

    def problems(self) -> list[tuple[FaultKind, str]]:
        """Problems of the samples."""
        if self._float_problem is not None:
            return [(FaultKind.SAMPLES, self._float_problem)]
        if self._channels > 1 and cancel_each_other(self._mean_power, self._channel_power):
            return [(FaultKind.CANCELLING_CHANNELS, CANCELLING)]
        if self._channel_levels and _has_speaker_per_channel(np.concatenate(self._channel_levels)):
            message = (
                "has one speaker per channel. Split it first (`sox FILE left.wav remix 1`), or read the mean of both: "
                "--channels mean, or `channels: mean` under `corpus:` in a configuration."
            )
            return [(FaultKind.SPEAKER_CHANNELS, message)]
        return []


def _powers(samples: npt.NDArray[np.float32], length: int) -> npt.NDArray[np.float32]:
    """Variances (frames, channels) of `samples` (samples, channels) in frames of `length`; the last is shorter.

    A constant offset is no sound: it would make silence loud, and hide which channel somebody speaks on.
    """
    whole = len(samples) // length * length
    shaped = samples[:whole].reshape(-1, length, samples.shape[1])
    shaped = shaped - shaped.mean(axis=1, keepdims=True)
    powers = np.einsum("flc,flc->fc", shaped, shaped) / length
    if whole < len(samples):
        powers = np.concatenate([powers, samples[whole:].var(axis=0, keepdims=True)])
    return powers


def _has_speaker_per_channel(powers: npt.NDArray[np.float32]) -> bool:
    """Whether speech alternates between the two channels.

    powers: (frames, 2). Levels are relative to the loudest of their own channel, so that a merely quieter channel is
    not mistaken for another speaker; a silent channel has no speaker.
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
