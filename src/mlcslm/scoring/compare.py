"""Is one system better than another? Paired comparisons over sessions, for all pairs of systems at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlcslm.scoring.intervals import has_interval, pooling_groups, with_tokens
from mlcslm.scoring.jackknife import difference_interval

# Up to this many sessions, all exchanges of two systems are enumerated (at most 4,096); beyond, they are sampled.
EXACT_SESSIONS = 12


@dataclass(frozen=True)
class Comparison:
    """System `b` against system `a` (indices) on the same sessions. Rates are fractions, nan without reference tokens.

    difference: rate_b - rate_a, negative if b is better; low, high: its paired interval, nan if sessions are too few
    for one; p_value: of the randomisation test; fewer, more: sessions in which b made fewer and more errors than a.
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
    errors: np.ndarray,
    lengths: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    pooled: bool = True,
    samples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> list[Comparison]:
    """Compare each system with each later one, by pooled rates sum(errors) / sum(lengths), or by means over groups.

    errors: (systems, sessions), each system's errors in each session; lengths, groups: (sessions,), its reference
    tokens (or seconds) and group; without groups all sessions are of one. pooled: compare pooled rates; otherwise means
    of the groups' pooled rates, with equal weights, where groups without a reference token are skipped.

    - Interval: Student's t with the variance of a jackknife of the sessions' differences, within groups
      (`mlcslm.scoring.jackknife`). None if sessions are too few (`pooling_groups`, `has_interval`).
    - p_value: two-sided randomisation test: the probability of a difference at least as large if, in each session,
      the systems' errors were exchanged at random (Noreen, "Computer-intensive methods for testing hypotheses", 1989).
      Valid for any number of sessions; with n of them it is at least 2 / 2^n. Beyond `EXACT_SESSIONS` it is estimated
      from `samples` exchanges, which depend on the seed and the order of sessions.

    Raises ValueError for arrays of other shapes, without sessions or with negative counts, and for invalid options.
    """
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    groups = np.zeros(lengths.shape, dtype=int) if groups is None else np.asarray(groups)
    if errors.ndim != 2 or errors.shape[1:] != lengths.shape or not lengths.size or groups.shape != lengths.shape:
        raise ValueError(
            f"expected (systems, sessions), (sessions,) and (sessions,), found {errors.shape}, {lengths.shape} and "
            f"{groups.shape}"
        )
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"expected samples >= 1 and 0 < level < 1, found {samples} and {level}")
    if min(errors.min(initial=0), lengths.min()) < 0:
        raise ValueError("errors and lengths are counts and cannot be negative")
    if not pooled and lengths.any():
        chosen = with_tokens(lengths, groups)
        errors, lengths, groups = errors[:, chosen], lengths[chosen], groups[chosen]
    units = np.zeros(lengths.shape, dtype=int) if pooled else groups
    names, unit_of_session = np.unique(units, return_inverse=True)
    of_unit = (unit_of_session[:, None] == np.arange(names.size)).astype(np.float64)
    first, second = np.triu_indices(len(errors), k=1)
    changes = errors[second] - errors[first]
    lows, highs = _intervals(changes, lengths, groups, level, pooled)
    # The contribution of an error to the mean of groups depends on its group; pooled rates compare whole errors.
    weights = np.ones(lengths.shape) if names.size == 1 else 1 / (names.size * (lengths @ of_unit))[unit_of_session]
    p_values = randomisation_p_values(changes * weights, samples=samples, seed=seed)
    rates = _rates(errors @ of_unit, lengths @ of_unit)
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


def _intervals(
    changes: np.ndarray, lengths: np.ndarray, groups: np.ndarray, level: float, pooled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals of all pairs' differences, (pairs,) each, nan if there is none."""
    strata = pooling_groups(lengths, groups) if pooled else groups if has_interval(lengths, groups) else None
    if strata is None:
        return np.full(len(changes), np.nan), np.full(len(changes), np.nan)
    return difference_interval(changes, lengths, strata, level, pooled=pooled)


def _rates(errors: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Mean over units of each system's rates: (systems,); errors: (systems, units), lengths: (units,)."""
    return (errors / lengths).mean(axis=1) if lengths.all() else np.full(len(errors), np.nan)


def randomisation_p_values(changes: np.ndarray, *, samples: int = 1000, seed: int) -> np.ndarray:
    """Two-sided p-values of sum(changes) = 0 under exchange of the systems in each session: (pairs,).

    changes: (pairs, sessions). Up to `EXACT_SESSIONS` sessions all exchanges are enumerated, beyond, `samples` of them
    are drawn.
    """
    sessions = changes.shape[1]
    exact = sessions <= EXACT_SESSIONS
    if exact:
        exchanged = np.arange(2**sessions)[:, None] >> np.arange(sessions) & 1
    else:
        exchanged = np.random.default_rng(seed).integers(2, size=(samples, sessions))
    totals = np.abs((1.0 - 2.0 * exchanged) @ changes.T)
    # Seconds are not integers: a different order of summation must not make the same sum smaller.
    found = np.abs(changes.sum(axis=1)) * (1 - 1e-9)
    as_large = (totals >= found).sum(axis=0)
    return as_large / len(totals) if exact else (1 + as_large) / (1 + samples)
