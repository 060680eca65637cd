"""Audio by offset: the header of a file, and any segment of it as 16 kHz mono without reading the rest."""

from __future__ import annotations

import contextlib
import math
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from mlcslm.errors import UserError

SAMPLE_RATE = 16_000
RATES = (2_000, 768_000)
"""Accepted range of sampling rates in Hz."""
# soxr's HQ filter extends 160 samples of the lower rate to either side (measured, 8 to 96 kHz): 20 ms at 8 kHz.
# With this much context, a resampled segment equals that segment of the resampled whole, up to float32 rounding.
CONTEXT_SECONDS = 0.05
# Writers to a pipe cannot know the size: ffmpeg writes 2^32 - 1, others 2^31, sox 0x7FFFF000. A size at most this far
# below a power of two is treated as such, and the audio then extends to the end of the file.
_UNKNOWN_SIZES, _UNKNOWN_SIZE_MARGIN = (2**31, 2**32), 0x1000
# Resampling may overshoot full scale by a few decibels. Beyond this, samples are not scaled to ±1 (say, int16's range).
LOUDEST = 16.0
# Trailing bytes that are not a chunk: less audio than this is treated as padding.
_PADDING_SECONDS = 0.1
_FLOATS = ("FLOAT", "DOUBLE")
# Channels cancel each other if their mean has less than this share of their power (correlation -0.98).
CANCELLED_SHARE = 0.01

Audio = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioHeader:
    """What a file declares: sample_rate in Hz, channels, frames (samples per channel)."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate


def read_header(path: str | os.PathLike[str]) -> AudioHeader:
    """Return a file's header after checking, without decoding, that the file contains all the audio it declares.

    Raises UserError if the file is missing, not audio, empty, shorter or longer than its header declares, or in a
    format that can only be read from the beginning.
    """
    path = Path(path)
    with opened(path) as file:
        header = AudioHeader(file.samplerate, file.channels, file.frames)
        if file.format not in ("WAV", "WAVEX", "RF64"):
            _read_frames(path, file, header.frames - 1, header.frames)
    return header


def segment_samples(start: float, end: float, sample_rate: int = SAMPLE_RATE) -> int:
    """Samples that `read_segment` returns for `start` to `end` (seconds) inside a file; adjacent segments tile it.

    >>> segment_samples(0.0, 3.9)
    62400
    """
    return round(end * sample_rate) - round(start * sample_rate)


def read_segment(path: str | os.PathLike[str], start: float, end: float, sample_rate: int = SAMPLE_RATE) -> Audio:
    """Return (samples,) float32 mono of `start` to `end` (seconds) at `sample_rate`, clipped to the file's ends.

    Only this segment and CONTEXT_SECONDS to either side are read. Channels are averaged. The file is opened at each
    call: keeping it open saves 25 of 100 microseconds, and shared handles break in forked data loaders.
    Raises UserError naming the file if it cannot be read, ValueError if `end` is before `start`.
    """
    if end < start:
        raise ValueError(f"{path}: segment ends at {end} s, before its start at {start} s")
    return read_samples(path, round(start * sample_rate), round(end * sample_rate), sample_rate)


def read_samples(path: str | os.PathLike[str], first: int, last: int, sample_rate: int = SAMPLE_RATE) -> Audio:
    """Return samples `first` to `last` (exclusive) of the file as it would be at `sample_rate`; see `read_segment`."""
    with opened(path) as file:
        if file.samplerate == sample_rate:
            return _mean(_read_frames(path, file, first, last))
        return _read_resampled(path, file, max(first, 0), max(last, 0), sample_rate)


def read_audio(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE, channel: int | None = None) -> Audio:
    """Return the whole file as (samples,) float32 at `sample_rate`: one channel, or their average if None.

    Raises UserError naming the file if it cannot be read or its channels cancel each other.
    """
    with opened(path) as file:
        frames = _read_frames(path, file, 0, file.frames)
        mono = _mean(frames) if channel is None else np.ascontiguousarray(frames[:, channel])
        if channel is None and cancel_each_other(power(mono), power(frames)):
            raise UserError(f"{path}: {CANCELLING}")
        return mono if file.samplerate == sample_rate else _resample(mono, file.samplerate, sample_rate)


def count_samples(path: str | os.PathLike[str], sample_rate: int = SAMPLE_RATE) -> int:
    """Samples of the whole file at `sample_rate`, from its header alone."""
    with opened(path) as file:
        return file.frames * sample_rate // file.samplerate


def _read_resampled(path: str | os.PathLike[str], file: soundfile.SoundFile, first: int, last: int, rate: int) -> Audio:
    """Resample from a frame that coincides with an output sample; from any other, the output grid would shift."""
    divisor = math.gcd(file.samplerate, rate)
    frames_in, samples_out = file.samplerate // divisor, rate // divisor
    context = math.ceil(CONTEXT_SECONDS * file.samplerate)
    block = max(0, (first * file.samplerate // rate - context) // frames_in)
    frames = _read_frames(path, file, block * frames_in, math.ceil(last * file.samplerate / rate) + context)
    offset = block * samples_out
    return _resample(_mean(frames), file.samplerate, rate)[first - offset : last - offset]


def power(frames: npt.NDArray[np.floating]) -> float:
    """Mean square of all samples, 0 if there are none."""
    flat = frames.ravel()
    return float(np.dot(flat, flat)) / max(1, flat.size)


def cancel_each_other(mean_power: float, channel_power: float) -> bool:
    """Whether channels cancel out so that almost nothing remains of their mean, from the power of mean and channels."""
    return mean_power < CANCELLED_SHARE * channel_power


CANCELLING = (
    "its channels cancel each other: one is the other inverted, and almost nothing remains of their mean, which is "
    "what is read. Keep one channel (`sox FILE mono.wav remix 1`)."
)


def _mean(frames: Audio) -> Audio:
    return frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)


def _resample(audio: Audio, source: int, target: int) -> Audio:
    return soxr.resample(audio, source, target, quality="HQ")


def _read_frames(path: str | os.PathLike[str], file: soundfile.SoundFile, first: int, last: int) -> Audio:
    """(frames, channels) of the open file, clipped to its ends."""
    first, last = max(0, min(first, file.frames)), max(0, min(last, file.frames))
    expected = max(0, last - first)
    try:
        file.seek(first)
        frames = file.read(expected, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if len(frames) < expected:
        raise _unreadable(path, f"ends after frame {first + len(frames):,}, its header declares {file.frames:,}")
    if file.subtype in _FLOATS and (problem := float_problem(frames)):
        raise UserError(f"{path}: {problem}")
    return frames


def float_problem(frames: npt.NDArray[Any]) -> str | None:
    """What is wrong with floating-point samples: not numbers, or not scaled to ±1."""
    peak = float(np.abs(frames).max(initial=0.0))  # NaN and infinity propagate to it
    if not math.isfinite(peak):
        count = int(frames.size - np.count_nonzero(np.isfinite(frames)))
        what = f"contains samples that are not numbers ({count:,} NaN or infinite)"
        return f"{what}. Copy the file again, or remove the session."
    if peak > LOUDEST:
        return (
            f"its samples reach {peak:,.0f}, expected at most about 1: they are not scaled (16-bit values as floating "
            "point?). Write it as 16-bit PCM, or divide by 32768."
        )
    return None


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a regular file; also False for invalid file names."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[soundfile.SoundFile]:
    """The open file, with its header checked. Raises UserError as `read_header` does."""
    if not is_file(path):  # opening a pipe would block
        raise _unreadable(path, "not a file" if os.path.lexists(path) else "no such file")
    try:
        file = soundfile.SoundFile(os.fspath(path))
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise _unreadable(path, _reason(error)) from error
    with file:
        _refuse_wrong_size(Path(path), file)
        if file.frames <= 0:
            raise UserError(f"{path}: contains no audio (0 samples). Copy the file again, or remove the session.")
        if not RATES[0] <= file.samplerate <= RATES[1]:
            raise UserError(
                f"{path}: its header declares {file.samplerate:,} Hz, expected {RATES[0]:,} to {RATES[1]:,}. Copy the "
                "file again, or remove the session."
            )
        if not file.seekable():
            raise UserError(
                f"{path}: is {file.subtype_info} in {file.format}, which can only be read from the beginning; "
                f"expected PCM. Convert it (`sox FILE -e signed-integer -b 16 out.wav`)."
            )
        yield file


def _refuse_wrong_size(path: Path, file: soundfile.SoundFile) -> None:
    """Raise UserError for a wav file whose data size is wrong, which takes 30 microseconds.

    libsndfile silently reads what is there of a truncated file, and no more than declared of a longer one. If the
    writer could not know the size, libsndfile correctly reads to the end.
    """
    if (data := _wav_data(path)) is None or _is_unknown(data.declared):
        return
    if data.declared > data.present:
        raise UserError(
            f"{path}: is truncated: its header declares {data.declared:,} bytes of audio, but only {data.present:,} "
            "are there. Copy the file again, or remove the session."
        )
    seconds = data.stray / max(1, data.bytes_per_second)
    if data.stray and (data.declared == 0 or seconds > _PADDING_SECONDS):
        why = "its writer never closed it" if data.declared == 0 else "a size beyond 4 GB, or a recorder that stopped"
        raise UserError(
            f"{path}: its header declares {data.declared:,} bytes of audio, but {data.present:,} are there ({why}); "
            f"{seconds:.1f} s would not be read. Rewrite the header (`sox --ignore-length FILE out.wav`)."
        )


def _is_unknown(size: int) -> bool:
    return any(limit - _UNKNOWN_SIZE_MARGIN <= size <= limit for limit in _UNKNOWN_SIZES)


def _unreadable(path: str | os.PathLike[str], reason: str) -> UserError:
    return UserError(f"{path}: cannot be read as audio ({reason}); expected a wav or flac file. Copy the file again.")


def _reason(error: Exception) -> str:
    """What libsndfile has against a file that is there, without its name."""
    found: str = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    # What it says of anything named .mp3 that is none.
    return "not in a known format" if found.startswith("File does not exist") else found.rstrip(".")


@dataclass(frozen=True)
class _WavData:
    """Bytes of audio that a wav file's header declares, bytes that are present, and how many of these, after the
    declared ones, do not belong to a chunk.
    """

    declared: int
    present: int
    stray: int
    bytes_per_second: int


def _wav_data(path: Path) -> _WavData | None:
    """The data chunk of a wav file; None for other formats."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        form = file.read(12)
        if form[:4] not in (b"RIFF", b"RF64") or form[8:] != b"WAVE":
            return None
        long_size = rate = 0
        for name, length in _chunks(file):
            if name == b"fmt " and len(body := file.read(12)) == 12:
                rate = struct.unpack_from("<I", body, 8)[0]
            elif name == b"ds64" and len(body := file.read(16)) == 16:
                long_size = struct.unpack_from("<Q", body, 8)[0]
            elif name == b"data":
                declared = long_size if length == 0xFFFFFFFF and long_size else length
                present = size - file.tell()
                return _WavData(declared, present, _stray(file, declared, present), rate)
    return _WavData(0, 0, 0, rate)


def _stray(file: BinaryIO, declared: int, present: int) -> int:
    """Bytes after the declared ones, 0 if a chunk begins there or only zeros follow."""
    if declared >= present:
        return 0
    trailing = present - declared
    file.seek(declared, os.SEEK_CUR)
    # Some writers omit the byte that pads a chunk to an even length.
    head = file.read(9)
    for start in {declared % 2, 0}:
        if len(one := head[start : start + 8]) == 8:
            name, length = struct.unpack("<4sI", one)
            if re.fullmatch(rb"[A-Za-z][A-Za-z0-9_]{2}[A-Za-z0-9_ ]", name) and length <= trailing:
                return 0
    file.seek(-len(head), os.SEEK_CUR)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            return trailing
    return 0


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each RIFF chunk, with the file positioned at the chunk's body."""
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        body = file.tell()
        yield name, length
        file.seek(body + length + length % 2)
