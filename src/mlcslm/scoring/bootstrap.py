"""Confidence intervals of pooled error rates."""

from __future__ import annotations

import numpy as np


def bootstrap_interval(
    errors: np.ndarray, lengths: np.ndarray, *, samples: int = 1000, level: float = 0.95, seed: int
) -> tuple[float, float]:
    """Low and high end of the percentile bootstrap interval of the pooled rate sum(errors) / sum(lengths).

    Sessions are what is drawn, with replacement, because utterances of one conversation are not independent.
    errors, lengths: (sessions,), each session's errors and reference tokens (or seconds, of a diarization error rate);
    keep one order of sessions (say by name): the same arrays and seed give the same interval, another order another
    draw. With one session there is nothing to draw from: both ends are the rate. Without any reference token both are
    nan. Draws that hold no reference token have no rate and are left out.
    Raises ValueError for arrays that are empty, of different shape or with negative counts, and impossible options.
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


def group_mean_interval(
    errors: np.ndarray,
    lengths: np.ndarray,
    groups: np.ndarray,
    *,
    samples: int = 1000,
    level: float = 0.95,
    seed: int,
) -> tuple[float, float]:
    """Low and high end of the percentile bootstrap interval of the mean of the groups' pooled rates.

    errors, lengths, groups: (sessions,), each session's errors, reference tokens and group. Sessions are drawn within
    their groups, which are fixed: another draw of the challenge would have the same ones. Groups without a reference
    token are left out; both ends are nan where there is no other. Raises ValueError for arrays of different shapes.
    """
    errors, lengths, groups = np.asarray(errors, float), np.asarray(lengths, float), np.asarray(groups)
    if not errors.shape == lengths.shape == groups.shape or errors.ndim != 1:
        raise ValueError(f"expected three arrays of (sessions,), found {errors.shape}, {lengths.shape}, {groups.shape}")
    sampled = []
    for place, group in enumerate(np.unique(groups)):
        chosen = np.flatnonzero(groups == group)
        if not lengths[chosen].any():
            continue
        # A stream of its own for each group: with one for all, groups of as many sessions would be drawn alike.
        drawn = chosen[np.random.default_rng([seed, place]).integers(chosen.size, size=(samples, chosen.size))]
        tokens = lengths[drawn].sum(axis=1)
        sampled.append(np.divide(errors[drawn].sum(axis=1), tokens, out=np.full(samples, np.nan), where=tokens > 0))
    if not sampled:
        return float("nan"), float("nan")
    # A draw of sessions without a token has no rate; its group is then left out of that sample's mean.
    means = np.nanmean(np.array(sampled), axis=0)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def draw_sessions(sessions: int, *, samples: int, level: float, seed: int) -> np.ndarray:
    """Sessions of each bootstrap sample, drawn with replacement: (samples, sessions), indices below `sessions`.

    Raises ValueError for fewer than one sample, and for a level outside 0 to 1.
    """
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"expected samples >= 1 and 0 < level < 1, found {samples} and {level}")
    return np.random.default_rng(seed).integers(sessions, size=(samples, sessions))
