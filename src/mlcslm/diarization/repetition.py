"""Recordings that repeat themselves: hold music, a test recording played all day, a long session made from a short one.

If a window occurs a hundred times, its nearest neighbours are its own copies. Neighbours then say nothing about
speakers, and clustering would find windows instead. Repetition shows in the loudness over time, before any embedding is
computed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft

from mlcslm.corpus.audio import SAMPLE_RATE, Audio

STEP = 0.01  # seconds between two values of the loudness
AROUND = 5  # values to smooth over: a period need not be a whole number of steps
SHORTEST = 10.0  # seconds; for a shorter period, a multiple of it is found
ALIKE = 0.9  # correlation of the loudness with itself one period later; conversations stay below 0.3
_FLOOR = 1e-6  # of the largest energy: anything quieter is silence


def period_of(waveform: Audio) -> float | None:
    """The period in seconds, to `STEP`, of a (samples,) 16 kHz waveform that repeats itself from beginning to end.

    None if it does not, if it is no longer than twice `SHORTEST`, or if its loudness does not change.
    """
    loudness = _loudness(waveform)
    shortest, longest = round(SHORTEST / STEP), len(loudness) // 2
    if longest <= shortest or not (loudness := loudness - loudness.mean()).any():
        return None
    correlation = _autocorrelation(loudness, longest)
    repeating = np.flatnonzero(correlation[shortest:] >= ALIKE)
    if not len(repeating):
        return None
    first = shortest + int(repeating[0])
    return round((first + int(np.argmax(correlation[first : first + shortest]))) * STEP, 3)


def _loudness(waveform: Audio) -> npt.NDArray[np.float64]:
    """Log energy around every `STEP`."""
    step = round(STEP * SAMPLE_RATE)
    blocks = waveform[: len(waveform) // step * step].reshape(-1, step)
    energies = np.einsum("ij,ij->i", blocks, blocks, dtype=np.float64)
    if not energies.any():
        return np.zeros(len(energies))
    smooth = np.convolve(energies, np.ones(AROUND), mode="same")
    return np.log(np.maximum(smooth, _FLOOR * smooth.max()))


def _autocorrelation(values: npt.NDArray[np.float64], longest: int) -> npt.NDArray[np.float64]:
    """Correlation (longest + 1,) of values with those 0 to `longest` steps later, over their overlap."""
    count = len(values)
    spectrum = rfft(values, next_fast_len(count + longest, real=True))
    products = irfft(spectrum * spectrum.conj(), next_fast_len(count + longest, real=True))[: longest + 1]
    squares = np.concatenate([[0.0], np.cumsum(values * values)])
    lags = np.arange(longest + 1)
    earlier, later = squares[count - lags], squares[count] - squares[lags]
    return products / np.sqrt(np.maximum(earlier * later, np.finfo(np.float64).tiny))
