"""Recordings as people have them: wav, flac, mp3, ogg through libsndfile, m4a and other containers through PyAV."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlcslm.corpus.audio import (
    CANCELLING,
    SAMPLE_RATE,
    Audio,
    cancel_each_other,
    is_file,
    power,
    read_audio,
    read_header,
)
from mlcslm.errors import UserError

CONTAINERS = (".m4a", ".mp4", ".aac", ".m4b", ".mov", ".mka", ".mkv", ".webm", ".wma", ".3gp", ".amr")
"""What libsndfile does not read."""


def read_channels(path: Path) -> list[Audio]:
    """Each channel of a recording as (samples,) float32 at 16 kHz.

    Raises UserError where the file is missing, is no audio or holds none, and where PyAV is needed and is not there.
    """
    if path.suffix.lower() in CONTAINERS:
        return _decoded(path)
    try:
        header = read_header(path)
        return [read_audio(path, SAMPLE_RATE, channel) for channel in range(header.channels)]
    except UserError as error:
        message = str(error).replace("expected a wav or flac file", "expected wav, flac, mp3, ogg or m4a")
        raise UserError(message) from None


def mean_channel(path: Path, channels: list[Audio]) -> Audio:
    """(samples,) mean of the channels. Raises UserError naming `path` where they cancel each other."""
    if len(channels) == 1:
        return channels[0]
    stacked = np.stack(channels)
    mean = stacked.mean(axis=0, dtype=np.float32)
    if cancel_each_other(power(mean), power(stacked)):
        raise UserError(f"{path}: {CANCELLING}")
    return mean


def _decoded(path: Path) -> list[Audio]:
    if not is_file(path):
        raise UserError(f"{path}: no such file. Expected wav, flac, mp3, ogg or m4a.")
    try:
        import av
    except ImportError:
        raise UserError(
            f"{path}: reading {path.suffix} needs the package av. Run: pip install 'mlcslm[m4a]', or convert the file "
            "to wav."
        ) from None
    blocks: list[Audio] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UserError(f"{path}: holds no audio. Expected wav, flac, mp3, ogg or m4a.")
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
            for frame in container.decode(audio=0):
                blocks += [np.asarray(one.to_ndarray(), np.float32) for one in resampler.resample(frame)]
            blocks += [np.asarray(one.to_ndarray(), np.float32) for one in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as audio ({error}). Copy the file again.") from None
    if not blocks:
        raise UserError(f"{path}: holds no audio (0 samples). Copy the file again.")
    samples = np.concatenate(blocks, axis=1)
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: contains samples that are not numbers. Copy the file again.")
    return [np.ascontiguousarray(channel) for channel in samples]
