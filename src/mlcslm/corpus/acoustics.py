"""Noises and room impulse responses generated from a seed: the demo corpus's MUSAN and SLR28."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from mlcslm.corpus.audio import SAMPLE_RATE
from mlcslm.io.files import atomic_folder

NOISE_SECONDS = 4.0
RT60_SECONDS = (0.15, 0.6)
SPEED_OF_SOUND = 343.0
PEAK = 0.9

Samples = npt.NDArray[np.float64]
_Maker = Callable[[np.random.Generator], Samples]


def generate_noises(folder: str | os.PathLike[str], seed: int, count: int) -> list[Path]:
    """Write `count` noises of 4 s (16 kHz PCM16 wav), cycling through the kinds of `NOISES`, and return their paths.

    A noise depends only on `seed` and its number. `folder` is replaced.
    """
    kinds = [list(NOISES)[number % len(NOISES)] for number in range(count)]
    samples = round(NOISE_SECONDS * SAMPLE_RATE)
    makers = {f"noise-{n:03d}-{kind}.wav": _noise_maker(NOISES[kind], samples) for n, kind in enumerate(kinds)}
    return _write(folder, makers, seed)


def generate_room_responses(folder: str | os.PathLike[str], seed: int, count: int) -> list[Path]:
    """Write `count` room impulse responses (16 kHz PCM16 wav) and return their paths.

    Reverberation times are uniform in `RT60_SECONDS`. A response depends only on `seed` and its number. `folder` is
    replaced.
    """
    return _write(folder, {f"room-{number:03d}.wav": _room for number in range(count)}, seed)


def room_response(rng: np.random.Generator, rt60: float) -> Samples:
    """Return (samples,): a direct path, 12 early reflections and a noise tail that decays by 60 dB in `rt60` s.

    Speaker and microphone are 0.5 to 3 m apart; the direct path is the largest sample.
    """
    direct = round(rng.uniform(0.5, 3.0) / SPEED_OF_SOUND * SAMPLE_RATE)
    time = np.arange(round(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    decay = 10 ** (-3 * time / rt60)
    # The tail builds up over the first milliseconds, while echoes are still sparse enough to be distinct.
    tail = rng.standard_normal(len(time)) * decay * np.clip(time / 0.02, 0, 1)
    early = np.zeros(len(time))
    delays = np.sort(rng.integers(round(0.002 * SAMPLE_RATE), round(0.04 * SAMPLE_RATE), 12))
    early[delays] = rng.choice([-1.0, 1.0], 12) * rng.uniform(0.2, 0.6, 12) * decay[delays]
    direct_to_reverberant_db = rng.uniform(0, 10)
    reverberant = early + 0.3 * tail
    reverberant *= np.sqrt(10 ** (-direct_to_reverberant_db / 10) / np.sum(np.square(reverberant)))
    response = np.concatenate([np.zeros(direct), reverberant])
    response[direct] = max(1.0, 1.1 * float(np.abs(reverberant).max()))
    return response / response[direct]


def _noise_maker(noise: Callable[[np.random.Generator, int], Samples], samples: int) -> _Maker:
    return lambda rng: noise(rng, samples)


def _room(rng: np.random.Generator) -> Samples:
    return room_response(rng, rng.uniform(*RT60_SECONDS))


def _coloured(rng: np.random.Generator, samples: int, exponent: float) -> Samples:
    """Noise whose power decays with the `exponent`-th power of the frequency, flat below 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 20.0)
    return np.fft.irfft(spectrum / frequency ** (exponent / 2), samples)


def _white(rng: np.random.Generator, samples: int) -> Samples:
    return _coloured(rng, samples, 0.0)


def _pink(rng: np.random.Generator, samples: int) -> Samples:
    return _coloured(rng, samples, 1.0)


def _brown(rng: np.random.Generator, samples: int) -> Samples:
    return _coloured(rng, samples, 2.0)


def _hum(rng: np.random.Generator, samples: int) -> Samples:
    """Mains hum: 50 or 60 Hz with harmonics, plus a little noise."""
    time = np.arange(samples) / SAMPLE_RATE
    mains = rng.choice([50.0, 60.0])
    phases = rng.uniform(0, 2 * np.pi, 12)
    harmonics = sum(np.sin(2 * np.pi * mains * k * time + phases[k - 1]) / k for k in range(1, 13))
    return harmonics + 0.05 * rng.standard_normal(samples)


def _babble(rng: np.random.Generator, samples: int) -> Samples:
    """Eight noises with formant-like spectra, each modulated at a syllable rate (2 to 6 Hz)."""
    time = np.arange(samples) / SAMPLE_RATE
    voices = np.zeros(samples)
    for _ in range(8):
        source = _coloured(rng, samples, 1.0)
        for centre in (rng.uniform(300, 800), rng.uniform(1000, 2300)):
            source = source + 3 * _resonance(source, centre)
        pace, phase = rng.uniform(2, 6), rng.uniform(0, 2 * np.pi)
        voices += source / np.std(source) * (0.5 + 0.5 * np.sin(2 * np.pi * pace * time + phase)) ** 2
    return voices


def _clicks(rng: np.random.Generator, samples: int) -> Samples:
    """About six clicks per second, each ringing for a few milliseconds, plus a little noise."""
    impulses = np.zeros(samples)
    at = rng.integers(samples, size=round(6 * samples / SAMPLE_RATE))
    impulses[at] = rng.uniform(0.3, 1.0, len(at))
    return _resonance(impulses, rng.uniform(800, 3000)) + 0.002 * rng.standard_normal(samples)


def _resonance(source: Samples, centre: float, bandwidth: float = 150.0) -> Samples:
    """A two-pole resonator at `centre` Hz, with unit gain there."""
    from scipy.signal import lfilter  # half a second that jobs which make no noise do not wait for

    radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    angle = 2 * np.pi * centre / SAMPLE_RATE
    gain = (1 - radius) * np.sqrt(1 - 2 * radius * np.cos(2 * angle) + radius**2)
    return lfilter([gain], [1, -2 * radius * np.cos(angle), radius**2], source)


NOISES: dict[str, Callable[[np.random.Generator, int], Samples]] = {
    "white": _white,
    "pink": _pink,
    "brown": _brown,
    "hum": _hum,
    "babble": _babble,
    "clicks": _clicks,
}


def _write(folder: str | os.PathLike[str], makers: dict[str, _Maker], seed: int) -> list[Path]:
    """Write one file per name, each from its own random generator; `folder` appears when all are complete."""
    folder = Path(folder)
    with atomic_folder(folder, "folder of sounds", own=["noise-*.wav", "room-*.wav"]) as temporary:
        for number, (name, make) in enumerate(makers.items()):
            audio = make(np.random.default_rng([seed, number]))
            soundfile.write(temporary / name, PEAK * audio / np.abs(audio).max(), SAMPLE_RATE, subtype="PCM_16")
    return [folder / name for name in makers]
