"""Noise and reverberation for training audio (section 2.3 of the paper): one of the two, on 70 % of the samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mlcslm.config.schema import AugmentationConfig
from mlcslm.corpus.acoustics import generate_noises, generate_room_responses
from mlcslm.corpus.audio import SAMPLE_RATE, Audio, count_samples, read_audio, read_samples
from mlcslm.errors import UserError

__all__ = ["Augmenter", "add_noise", "at_speed", "generate_noises", "generate_room_responses", "reverberate"]

SUFFIXES = (".wav", ".flac")
SNR_DB = (0.0, 15.0)


class Augmenter:
    """Adds noise or reverberation to 16 kHz audio with a probability; a pure function of the given generator.

    probability: of changing a sample at all. noise_folder, rir_folder: searched recursively for wav and flac (MUSAN's
    and SLR28's folders as unpacked); if only one is given, every changed sample gets that kind. snr_db: bounds of the
    signal-to-noise ratio, drawn uniformly. Files are read when drawn, noise by offset, so that workers keep no audio in
    memory: MUSAN's 11 GB would not fit a cache, and a small folder stays in the system's.

    Raises UserError if a folder is missing or has no audio, ValueError if the probability is not within 0..1.
    """

    def __init__(
        self,
        probability: float,
        noise_folder: str | os.PathLike[str] | None,
        rir_folder: str | os.PathLike[str] | None,
        snr_db: tuple[float, float] = SNR_DB,
    ) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"augmentation probability is {probability}, expected 0 to 1")
        self.probability = probability
        self.snr_db = snr_db
        self.noises = [] if noise_folder is None else _audio_files(noise_folder, "noise")
        self.responses = [] if rir_folder is None else _room_responses(rir_folder)

    def __call__(self, audio: Audio, rng: np.random.Generator) -> Audio:
        """Return (samples,) float32 of the same length; `audio` itself is not changed.

        The sum with noise may exceed 1: it is not clipped.
        """
        kinds = [kind for kind, files in ((self._noise, self.noises), (self._room, self.responses)) if files]
        if not kinds or not len(audio) or rng.random() >= self.probability:
            return audio
        return kinds[rng.integers(len(kinds))](audio, rng)

    def _noise(self, audio: Audio, rng: np.random.Generator) -> Audio:
        path = self.noises[rng.integers(len(self.noises))]
        snr_db = rng.uniform(*self.snr_db)
        total = count_samples(path)
        if total == 0:
            raise UserError(f"{path}: contains no audio (0 samples); remove it from the noise folder.")
        first = int(rng.integers(total))
        noise = read_samples(path, first, first + len(audio))
        if len(noise) < len(audio):
            noise = np.resize(np.concatenate([noise, read_samples(path, 0, min(first, len(audio)))]), len(audio))
        return add_noise(audio, noise, snr_db)

    def _room(self, audio: Audio, rng: np.random.Generator) -> Audio:
        path = self.responses[rng.integers(len(self.responses))]
        response = read_audio(path, channel=0)
        if not response.any():
            raise UserError(f"{path}: is silent, expected a room impulse response; remove it from the folder.")
        return reverberate(audio, response)


def add_noise(audio: Audio, noise: Audio, snr_db: float) -> Audio:
    """Return `audio` plus `noise` (both (samples,)), with the noise scaled to an overall ratio of `snr_db`.

    If either is silent there is no such ratio, and the audio is returned unchanged.
    """
    signal_power, noise_power = _power(audio), _power(noise)
    if signal_power == 0 or noise_power == 0:
        return audio
    scale = np.sqrt(signal_power / noise_power / 10 ** (snr_db / 10))
    return audio + np.float32(scale) * noise


def reverberate(audio: Audio, response: Audio) -> Audio:
    """Return `audio` (samples,) convolved with the impulse `response`: same length, same energy, same timing.

    The response's largest sample is its direct path: it is moved to time 0 and scaled to 1, so that words keep their
    position and sign.
    """
    from scipy.signal import fftconvolve  # half a second that decoding, which adds no echo, does not wait for

    direct = int(np.argmax(np.abs(response)))
    wet = fftconvolve(audio, response / response[direct])[direct : direct + len(audio)]
    wet_power = _power(wet)
    scale = np.sqrt(_power(audio) / wet_power) if wet_power else 1.0
    return (scale * wet).astype(np.float32)


def at_speed(audio: Audio, speed: float) -> Audio:
    """`audio` (samples,) played so many times as fast, tempo and pitch alike: it becomes shorter by that factor."""
    if speed == 1:
        return audio
    import soxr  # as above

    return soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ")


def _power(audio: Audio) -> float:
    return float(np.mean(np.square(audio, dtype=np.float64)))


def _audio_files(folder: str | os.PathLike[str], purpose: str) -> list[Path]:
    """Audio files at any depth below `folder`, sorted, so that a draw selects the same file on every machine."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Expected the augmentation's {purpose} folder of wav or flac files.")
    names = (Path(parent, name) for parent, _, files in os.walk(folder, followlinks=True) for name in files)
    found = sorted(name for name in names if name.suffix.lower() in SUFFIXES and not name.name.startswith("."))
    if not found:
        raise UserError(f"{folder}: contains no wav or flac files. Expected the augmentation's {purpose} recordings.")
    return found


def _room_responses(folder: str | os.PathLike[str]) -> list[Path]:
    """The responses below `folder`, without the noises in SLR28's tree: convolving speech with one destroys it."""
    found = _audio_files(folder, "room response")
    responses = [
        path
        for path in found
        if "pointsource_noises" not in path.relative_to(folder).parts and "_noise_" not in path.name
    ]
    if not responses:
        raise UserError(f"{folder}: contains only SLR28's noises. Expected the folder of the room impulse responses.")
    return responses


def make_augmenter(config: AugmentationConfig, noise: Path | None, room_responses: Path | None) -> Augmenter | None:
    """The augmenter of a run, or None if nothing is to be augmented."""
    if config.probability == 0 or (noise is None and room_responses is None):
        return None
    return Augmenter(config.probability, noise, room_responses, config.snr_db)
