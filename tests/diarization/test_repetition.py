"""Recordings that repeat themselves: the period is that of the repetition, and conversations have none."""

from __future__ import annotations

import numpy as np
import pytest

from mlcslm.diarization.repetition import period_of

RATE = 16_000


def talk(seconds: float, seed: int) -> np.ndarray:
    """Noise in bursts of random loudness and length, as speech has."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(0.05, 0.6, int(10 * seconds))
    loudness = np.repeat(10 ** rng.uniform(-3, -1, len(lengths)), (lengths * RATE).astype(int))
    return (loudness[: int(seconds * RATE)] * rng.normal(size=int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize("samples", [12 * RATE, 12 * RATE + 77])
@pytest.mark.parametrize("times", [2.0, 2.6, 9])
def test_the_period_of_a_repetition_is_found(samples: int, times: float) -> None:
    once = talk(14.0, seed=1)[:samples]
    whole = np.tile(once, 9)[: int(times * samples)]
    assert period_of(whole) == pytest.approx(samples / RATE, abs=0.011)
    # Copied with some noise, and another time louder than the rest.
    copied = whole + np.random.default_rng(2).normal(0, 1e-3, len(whole)).astype(np.float32)
    assert period_of(0.3 * copied) == pytest.approx(samples / RATE, abs=0.011)


def test_of_short_periods_a_multiple_is_found() -> None:
    period = period_of(np.tile(talk(4.0, seed=3), 30))
    assert period is not None and period >= 10.0
    assert period / 4.0 == pytest.approx(round(period / 4.0), abs=0.01)


@pytest.mark.parametrize(
    "waveform",
    [
        talk(120.0, seed=4),
        np.concatenate([talk(60.0, seed=5), talk(60.0, seed=6)]),
        np.tile(talk(30.0, seed=7), 2)[: 59 * RATE],  # not even twice
        np.concatenate([talk(30.0, seed=8), talk(90.0, seed=9), talk(30.0, seed=8)]),
        np.zeros(60 * RATE, np.float32),
        np.full(60 * RATE, 0.1, np.float32),
        np.zeros(0, np.float32),
        talk(5.0, seed=10),
    ],
    ids=["talk", "two talks", "not twice", "a part again", "silence", "constant", "nothing", "short"],
)
def test_what_does_not_repeat_has_no_period(waveform: np.ndarray) -> None:
    assert period_of(waveform) is None
