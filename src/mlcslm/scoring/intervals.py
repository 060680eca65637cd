"""Confidence intervals of error rates as printed: none below five sessions, correct coverage from there on.

docs/scoring.md has the coverage of each method in simulations.
"""

from __future__ import annotations

import numpy as np

from mlcslm.scoring.bootstrap import bootstrap_interval, expanded_level
from mlcslm.scoring.jackknife import rate_interval

# Fewer sessions say too little about how others would differ.
FEWEST_SESSIONS = 5
# From here on the bootstrap's expanded percentiles have the right coverage; below, they are too narrow.
BOOTSTRAP_SESSIONS = 30
NONE = float("nan"), float("nan")


def pooled_interval(
    errors: np.ndarray, lengths: np.ndarray, *, samples: int = 1000, level: float = 0.95, seed: int
) -> tuple[float, float]:
    """Low and high end of the interval of the pooled rate sum(errors) / sum(lengths); both nan if there is none.

    errors, lengths: (sessions,), as in `bootstrap_interval`. From `BOOTSTRAP_SESSIONS` on, the ends are its expanded
    percentiles; below, those of the jackknife (`mlcslm.scoring.jackknife`). Sessions without a reference token do not
    count. Raises ValueError as `group_mean_interval` does.
    """
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    sessions = int(np.count_nonzero(lengths))
    if sessions >= BOOTSTRAP_SESSIONS and 0 < level < 1:
        level = expanded_level(level, sessions)
        return bootstrap_interval(errors, lengths, samples=samples, level=level, seed=seed)
    return group_mean_interval(errors, lengths, np.zeros(lengths.shape, dtype=int), level=level)


def group_mean_interval(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray, *, level: float = 0.95
) -> tuple[float, float]:
    """Low and high end of the interval of the mean of the groups' pooled rates; both nan if there is none.

    errors, lengths, groups: (sessions,), each session's errors, reference tokens and group. The groups are fixed: other
    sessions would belong to the same ones. Groups without a reference token are skipped. `has_interval` decides whether
    there is an interval. Raises ValueError for arrays of different shapes or negative counts, and for a level outside 0
    to 1.
    """
    errors, lengths, groups = np.asarray(errors, float), np.asarray(lengths, float), np.asarray(groups)
    if not errors.shape == lengths.shape == groups.shape or errors.ndim != 1:
        raise ValueError(f"expected three arrays of (sessions,), found {errors.shape}, {lengths.shape}, {groups.shape}")
    if min(errors.min(initial=0), lengths.min(initial=0)) < 0:
        raise ValueError("errors and lengths are counts and cannot be negative")
    if not 0 < level < 1:
        raise ValueError(f"expected 0 < level < 1, found {level}")
    if not has_interval(lengths, groups):
        return NONE
    chosen = with_tokens(lengths, groups)
    low, high = rate_interval(errors[chosen], lengths[chosen], groups[chosen], level)
    return float(low), float(high)


def has_interval(lengths: np.ndarray, groups: np.ndarray) -> bool:
    """Whether sessions are enough for an interval of the mean of groups. lengths, groups: (sessions,).

    One group needs five. Several need at least two each, and as many degrees of freedom as five of one group: four
    groups of two sessions suffice, or two of three, but neither three of two nor one of two and one of thirty. Sessions
    without a reference token do not count.

    >>> [has_interval(np.ones(n), np.arange(n) // 2) for n in (4, 6, 8)]
    [False, False, True]
    """
    counts = np.unique(groups[lengths > 0], return_counts=True)[1].astype(np.float64)
    if not counts.size or counts.min() < 2:
        return False
    freedom = (1 / counts).sum() ** 2 / (1 / (counts**2 * (counts - 1))).sum()
    return bool(freedom >= FEWEST_SESSIONS - 1 - 1e-9)


def with_tokens(lengths: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which sessions belong to groups with any reference tokens: (sessions,), booleans."""
    return np.isin(groups, groups[lengths > 0])
