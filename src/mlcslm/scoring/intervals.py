"""Confidence intervals of error rates as printed: none below five sessions, correct coverage from there on.

docs/scoring.md has their coverage in simulations.
"""

from __future__ import annotations

import numpy as np

from mlcslm.scoring.jackknife import rate_interval

# Fewer sessions say too little about how others would differ: of one group, or of several (six are two groups of three,
# whose intervals come out too wide).
FEWEST_SESSIONS = 5
FEWEST_OF_SEVERAL = 7
# Sessions alone in their group say nothing about how others of it would differ. Up to this share of all sessions, a
# pooled rate's interval takes them as if from one group: it becomes wider, but not noticeably.
MOST_ALONE = 0.1
NONE = float("nan"), float("nan")


def pooled_interval(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """Low and high end of the interval of the pooled rate sum(errors) / sum(lengths); both nan if there is none.

    errors, lengths, groups: (sessions,), each session's errors, reference tokens (or seconds, for a diarization error
    rate) and group; without groups all are of one. The groups are fixed: other sessions would belong to the same ones,
    as many to each. `pooling_groups` decides whether there is an interval. Raises ValueError as `group_mean_interval`
    does.
    """
    errors, lengths, groups = _checked(errors, lengths, groups, level)
    strata = pooling_groups(lengths, groups)
    return NONE if strata is None else _ends(errors, lengths, strata, level, pooled=True)


def group_mean_interval(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray, *, level: float = 0.95
) -> tuple[float, float]:
    """Low and high end of the interval of the mean of the groups' pooled rates; both nan if there is none.

    Arguments as for `pooled_interval`. Groups without a reference token are skipped. `has_interval` decides whether
    there is an interval. Raises ValueError for arrays of different shapes or negative counts, and for a level outside 0
    to 1.
    """
    errors, lengths, groups = _checked(errors, lengths, groups, level)
    if not has_interval(lengths, groups):
        return NONE
    chosen = with_tokens(lengths, groups)
    return _ends(errors[chosen], lengths[chosen], groups[chosen], level, pooled=False)


def pooling_groups(lengths: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    """Groups within which sessions vary, for the interval of a pooled rate: (sessions,); None if there is no interval.

    Sessions that are alone in their group are joined to one group; a single one joins the smallest. There is no
    interval if they are more than a tenth of all, nor if sessions are too few: one group needs five. Several need seven
    overall, and as many degrees of freedom as five of one: a group of two beside one of thirty suffices. Sessions
    without a reference token do not count.

    >>> [None if pooling_groups(np.ones(n), np.arange(n) // 2) is None else n for n in (4, 6, 8)]
    [None, None, 8]
    >>> pooling_groups(np.ones(11), np.array([1] * 10 + [2])).tolist()
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    scored = lengths > 0
    names, place, counts = np.unique(groups[scored], return_inverse=True, return_counts=True)
    alone = counts == 1
    if not names.size or alone.sum() > MOST_ALONE * scored.sum():
        return None
    joined = np.arange(names.size)
    if alone.any():
        smallest = np.argmin(np.where(alone, scored.sum(), counts))
        joined[alone] = np.flatnonzero(alone)[0] if alone.sum() > 1 else smallest
    # Sessions without a token weigh nothing, whatever their group.
    strata = np.full(lengths.shape, joined[0])
    strata[scored] = joined[place]
    sizes = np.unique(strata[scored], return_counts=True)[1].astype(np.float64)
    # The variance of a group's share of the errors grows with its sessions.
    return names[strata] if _are_enough(sizes, sizes) else None


def has_interval(lengths: np.ndarray, groups: np.ndarray) -> bool:
    """Whether sessions are enough for an interval of the mean of groups. lengths, groups: (sessions,).

    One group needs five. Several need at least two each, seven overall, and as many degrees of freedom as five of one
    group: four groups of two sessions suffice, or two of three and four, but not one of two and one of thirty. Sessions
    without a reference token do not count.

    >>> [has_interval(np.ones(n), np.arange(n) // 2) for n in (4, 6, 8)]
    [False, False, True]
    """
    counts = np.unique(groups[lengths > 0], return_counts=True)[1].astype(np.float64)
    # The variance of a group's mean falls with its sessions.
    return bool(counts.size) and bool(counts.min() >= 2) and _are_enough(counts, 1 / counts)


def _are_enough(counts: np.ndarray, variances: np.ndarray) -> bool:
    """Whether groups of `counts` sessions suffice; variances: (groups,), expected of each part, up to a factor."""
    freedom = variances.sum() ** 2 / (variances**2 / np.maximum(counts - 1, 1e-9)).sum()
    fewest = FEWEST_OF_SEVERAL if counts.size > 1 else FEWEST_SESSIONS
    return bool(counts.sum() >= fewest and freedom >= FEWEST_SESSIONS - 1 - 1e-9)


def with_tokens(lengths: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which sessions belong to groups with any reference tokens: (sessions,), booleans."""
    return np.isin(groups, groups[lengths > 0])


def _checked(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray | None, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    groups = np.zeros(lengths.shape, dtype=int) if groups is None else np.asarray(groups)
    if not errors.shape == lengths.shape == groups.shape or errors.ndim != 1:
        raise ValueError(f"expected three arrays of (sessions,), found {errors.shape}, {lengths.shape}, {groups.shape}")
    if min(errors.min(initial=0), lengths.min(initial=0)) < 0:
        raise ValueError("errors and lengths are counts and cannot be negative")
    if not 0 < level < 1:
        raise ValueError(f"expected 0 < level < 1, found {level}")
    return errors, lengths, groups


def _ends(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray, level: float, *, pooled: bool
) -> tuple[float, float]:
    low, high = rate_interval(errors, lengths, groups, level, pooled=pooled)
    return float(low), float(high)
