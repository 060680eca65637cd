"""Is one system better than another? Paired comparisons over sessions, of all pairs of systems at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcslm.scoring.bootstrap import draw_sessions

# Up to so many sessions all ways of exchanging two systems are gone through (4,096 at most), beyond they are drawn.
EXACT_SESSIONS = 12


@dataclass(frozen=True)
class Comparison:
    """System `b` against system `a` (indices) on the same sessions. Rates are fractions, nan without reference tokens.

    difference: rate_b - rate_a, negative where b is better; low, high: its paired bootstrap interval; p_value: of the
    randomisation test; fewer, more: sessions in which b made fewer and more errors than a.
    """

    a: int
    b: int
    sessions: int
    rate_a: float
    rate_b: float
    difference: float
    low: float
    high: float
    p_value: float
    fewer: int
    more: int


def compare_systems(
    errors: np.ndarray, lengths: np.ndarray, *, samples: int = 1000, level: float = 0.95, seed: int
) -> list[Comparison]:
    """Compare each system with each later one, by pooled rates: sum(errors) / sum(lengths).

    errors: (systems, sessions), each system's errors in each session; lengths: (sessions,), its reference tokens (or
    seconds). The order of sessions is part of the draw, as in `bootstrap_interval`.

    - Interval: percentile bootstrap of the difference of rates; each sample draws whole sessions with replacement, the
      same for both systems (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance
      evaluation", 2004).
    - p_value: two-sided randomisation test: how often, if in each session it were chance which system made which
      errors, the difference would be as large (Noreen, "Computer-intensive methods for testing hypotheses", 1989).
      Unlike the interval it knows when sessions are few: with n of them it is at least 2 / 2^n.

    Raises ValueError for arrays of other shapes, without a session or with negative counts, and impossible options.
    """
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    if errors.ndim != 2 or errors.shape[1:] != lengths.shape or not lengths.size:
        raise ValueError(f"expected (systems, sessions) and (sessions,), found {errors.shape} and {lengths.shape}")
    if min(errors.min(initial=0), lengths.min()) < 0:
        raise ValueError("errors and lengths are counts and cannot be negative")
    first, second = np.triu_indices(len(errors), k=1)
    sampled = _sampled_rates(errors, lengths, draw_sessions(lengths.size, samples=samples, level=level, seed=seed))
    ends = (1 - level) / 2, (1 + level) / 2
    lows, highs = (
        np.quantile(sampled[:, second] - sampled[:, first], ends, axis=0)
        if len(sampled)
        else np.full((2, first.size), np.nan)
    )
    changes = errors[second] - errors[first]
    p_values = _p_values(changes, samples, seed)
    rates = _rates(errors.sum(axis=1), lengths.sum())
    return [
        Comparison(
            a=int(a),
            b=int(b),
            sessions=lengths.size,
            rate_a=float(rates[a]),
            rate_b=float(rates[b]),
            difference=float(rates[b] - rates[a]),
            low=float(lows[pair]),
            high=float(highs[pair]),
            p_value=float(p_values[pair]),
            fewer=int((changes[pair] < 0).sum()),
            more=int((changes[pair] > 0).sum()),
        )
        for pair, (a, b) in enumerate(zip(first, second, strict=True))
    ]


def _rates(errors: np.ndarray, length: float) -> np.ndarray:
    return errors / length if length > 0 else np.full(errors.shape, np.nan)


def _sampled_rates(errors: np.ndarray, lengths: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Each system's rate in each sample with reference tokens: (samples, systems)."""
    samples, sessions = drawn.shape
    places = drawn + sessions * np.arange(samples)[:, None]
    times = np.bincount(places.ravel(), minlength=samples * sessions).reshape(samples, sessions).astype(np.float64)
    lengths_drawn = times @ lengths
    scored = lengths_drawn > 0
    return (times[scored] @ errors.T) / lengths_drawn[scored, None]


def _p_values(changes: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Two-sided p-values of the randomisation test of sum(changes) = 0; changes: (pairs, sessions)."""
    sessions = changes.shape[1]
    exact = sessions <= EXACT_SESSIONS
    if exact:
        exchanged = np.arange(2**sessions)[:, None] >> np.arange(sessions) & 1
    else:
        exchanged = np.random.default_rng(seed).integers(2, size=(samples, sessions))
    totals = np.abs((1.0 - 2.0 * exchanged) @ changes.T)
    # Seconds are no integers: the same sum in another order is not less.
    found = np.abs(changes.sum(axis=1)) * (1 - 1e-9)
    as_large = (totals >= found).sum(axis=0)
    return as_large / len(totals) if exact else (1 + as_large) / (1 + samples)
