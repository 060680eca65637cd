"""Percentile bootstrap of pooled error rates over sessions; `intervals` decides which interval is printed."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, stdtrit


def bootstrap_interval(
    errors: np.ndarray, lengths: np.ndarray, *, samples: int = 1000, level: float = 0.95, seed: int
) -> tuple[float, float]:
    """Low and high end of the percentile bootstrap interval of the pooled rate sum(errors) / sum(lengths).

    Whole sessions are resampled with replacement, since utterances of a conversation are not independent.
    errors, lengths: (sessions,), each session's errors and reference tokens (or seconds, for a diarization error
    rate). Keep a fixed order of sessions (say by name): the interval is a function of the arrays, their order and the
    seed. It is too narrow with few sessions; with one, both ends are the rate. Without any reference token, both are
    nan. Samples without a reference token have no rate and are skipped. Raises ValueError for arrays that are empty,
    differ in shape or have negative counts, and for invalid options.
    """
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    if errors.ndim != 1 or errors.shape != lengths.shape or not errors.size:
        raise ValueError(f"expected two arrays of shape (sessions,), found {errors.shape} and {lengths.shape}")
    if errors.min() < 0 or lengths.min() < 0:
        raise ValueError("errors and lengths are counts and cannot be negative")
    drawn = draw_sessions(errors.size, samples=samples, level=level, seed=seed)
    errors_drawn, lengths_drawn = errors[drawn].sum(axis=1), lengths[drawn].sum(axis=1)
    scored = lengths_drawn > 0
    if not scored.any():
        return float("nan"), float("nan")
    low, high = np.quantile(errors_drawn[scored] / lengths_drawn[scored], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def expanded_level(level: float, sessions: int) -> float:
    """The level, slightly above `level`, at which a bootstrap of `sessions` covers `level`.

    A bootstrap's variance is (n - 1) / n of what it should be, and its percentiles follow a normal distribution instead
    of Student's (Hesterberg, "What teachers should know about the bootstrap", 2015, section 4: expanded percentiles).

    >>> [round(expanded_level(0.95, sessions), 4) for sessions in (30, 110, 10_000)]
    [0.9625, 0.9535, 0.95]
    """
    end = stdtrit(sessions - 1, (1 + level) / 2) * np.sqrt(sessions / (sessions - 1))
    return float(2 * ndtr(end) - 1)


def draw_sessions(sessions: int, *, samples: int, level: float, seed: int) -> np.ndarray:
    """Sessions of each bootstrap sample, drawn with replacement: (samples, sessions), indices below `sessions`.

    Raises ValueError for fewer than one sample and for a level outside 0 to 1.
    """
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"expected samples >= 1 and 0 < level < 1, found {samples} and {level}")
    return np.random.default_rng(seed).integers(sessions, size=(samples, sessions))
