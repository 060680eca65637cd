"""Audio by offset: what a file's header says, and any stretch of it as 16 kHz mono without reading the rest."""

from __future__ import annotations

import contextlib
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from mlcslm.errors import UserError

SAMPLE_RATE = 16_000
# soxr's HQ filter reaches 160 samples of the lower rate to either side (measured, 8 to 96 kHz): 20 ms at 8 kHz.
# With this much context a resampled stretch equals the same stretch of the resampled whole, to float32 rounding.
CONTEXT_SECONDS = 0.05
# What a writer to a pipe puts for a size that it cannot know.
UNKNOWN_SIZE = 0xFFFFFFFF

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioHeader:
    """What a file announces: sample_rate in Hz, channels, frames (samples a channel)."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate


def read_header(path: str | os.PathLike[str]) -> AudioHeader:
    """Return a file's header, having checked that the file holds all the audio it announces, without decoding it.

    Raises UserError where the file is missing, is no audio, holds none, or is cut short.
    """
    path = Path(path)
    with _opened(path) as file:
        header = AudioHeader(file.samplerate, file.channels, file.frames)
        if _wav_bytes(path) is None and header.frames:
            _read_frames(path, file, header.frames - 1, header.frames)
    if header.frames == 0:
        raise UserError(f"{path}: holds no audio (0 samples). Copy the file again, or remove the session.")
    return header


def segment_samples(start: float, end: float, sample_rate: int = SAMPLE_RATE) -> int:
    """Samples that `read_segment` gives for `start` to `end` (seconds) inside a file; touching segments tile it.

    >>> segment_samples(0.0, 3.9)
    62400
    """
    return round(end * sample_rate) - round(start * sample_rate)


def read_segment(path: str | os.PathLike[str], start: float, end: float, sample_rate: int = SAMPLE_RATE) -> Audio:
    """Return (samples,) float32 mono of `start` to `end` (seconds) at `sample_rate`, clipped to the file's ends.

    Only this stretch and CONTEXT_SECONDS to either side are read. Channels are averaged. A file is opened at each call:
    keeping it open saves 25 of 100 microseconds, and shared handles break in forked data loaders.
    Raises UserError naming the file where it cannot be read, ValueError where `end` is before `start`.
    """
    if end < start:
        raise ValueError(f"{path}: segment ends at {end} s, before its start at {start} s")
    return read_samples(path, round(start * sample_rate), round(end * sample_rate), sample_rate)


def read_samples(path: str | os.PathLike[str], first: int, last: int, sample_rate: int = SAMPLE_RATE) -> Audio:
    """Return samples `first` to `last` (exclusive) of the file as it would be at `sample_rate`; see `read_segment`."""
    with _opened(path) as file:
        if file.samplerate == sample_rate:
            return _read_frames(path, file, first, last).mean(axis=1, dtype=np.float32)
        return _read_resampled(path, file, max(first, 0), max(last, 0), sample_rate)


def read_audio(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE, channel: int | None = None) -> Audio:
    """Return the whole file as (samples,) float32 at `sample_rate`: one channel of it, or None for their average."""
    with _opened(path) as file:
        frames = _read_frames(path, file, 0, file.frames)
        mono = frames.mean(axis=1, dtype=np.float32) if channel is None else np.ascontiguousarray(frames[:, channel])
        return mono if file.samplerate == sample_rate else _resample(mono, file.samplerate, sample_rate)


def count_samples(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> int:
    """Samples of the whole file at `sample_rate`, by its header alone."""
    with _opened(path) as file:
        return file.frames * sample_rate // file.samplerate


def _read_resampled(path: str | os.PathLike[str], file: soundfile.SoundFile, first: int, last: int, rate: int) -> Audio:
    """Resample from a frame that falls on an output sample: elsewhere the resampled grid would be shifted."""
    divisor = math.gcd(file.samplerate, rate)
    frames_in, samples_out = file.samplerate // divisor, rate // divisor
    context = math.ceil(CONTEXT_SECONDS * file.samplerate)
    block = max(0, (first * file.samplerate // rate - context) // frames_in)
    frames = _read_frames(path, file, block * frames_in, math.ceil(last * file.samplerate / rate) + context)
    offset = block * samples_out
    return _resample(frames.mean(axis=1, dtype=np.float32), file.samplerate, rate)[first - offset : last - offset]


def _resample(audio: Audio, source: int, target: int) -> Audio:
    return soxr.resample(audio, source, target, quality="HQ")


def _read_frames(path: str | os.PathLike[str], file: soundfile.SoundFile, first: int, last: int) -> Audio:
    """(frames, channels) of the open file, clipped to its ends."""
    first, last = max(0, min(first, file.frames)), max(0, min(last, file.frames))
    wanted = max(0, last - first)
    try:
        file.seek(first)
        frames = file.read(wanted, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, str(error)) from error
    if len(frames) < wanted:
        raise _unreadable(path, f"ends after frame {first + len(frames):,}, its header announces {file.frames:,}")
    return frames


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    try:
        file = soundfile.SoundFile(os.fspath(path))
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise _unreadable(path, str(error) if Path(path).exists() else "no such file") from error
    with file:
        _refuse_cut_short(Path(path))
        yield file


def _refuse_cut_short(path: Path) -> None:
    """libsndfile would quietly read what is left of a wav file, whenever it was cut: 30 microseconds to notice."""
    sizes = _wav_bytes(path)
    if sizes is not None and sizes[0] > sizes[1]:
        raise UserError(
            f"{path}: is cut short: its header announces {sizes[0]:,} bytes of audio, {sizes[1]:,} are there. "
            "Copy the file again, or remove the session."
        )


def _unreadable(path: str | os.PathLike[str], reason: str) -> UserError:
    return UserError(f"{path}: cannot be read as audio ({reason}); expected a wav or flac file. Copy the file again.")


def _wav_bytes(path: Path) -> tuple[int, int] | None:
    """Bytes of audio that a wav file's header announces, and bytes that are there; None for other formats."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        form = file.read(12)
        if form[:4] not in (b"RIFF", b"RF64") or form[8:] != b"WAVE":
            return None
        long_size = 0
        for name, length in _chunks(file):
            if name == b"ds64" and len(body := file.read(16)) == 16:
                long_size = struct.unpack_from("<Q", body, 8)[0]
            elif name == b"data":
                return length if length != UNKNOWN_SIZE else long_size, size - file.tell()
    return 0, 0


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each RIFF chunk, the file standing at the chunk's body."""
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        body = file.tell()
        yield name, length
        file.seek(body + length + length % 2)
