"""Student's t intervals of error rates, and of their differences, from few sessions: a jackknife within groups.

The estimate is the mean over groups of sum(errors) / sum(lengths); with one group, its pooled rate. Sessions are
sampled within groups, which are fixed.

- Variance: of a group, by deleting one session at a time; of the mean, their sum over the squared number of groups
  (the stratified jackknife of Rust and Rao, "Variance estimation for complex surveys using replication techniques",
  1996). Unlike that of a bootstrap of two or seven sessions, it is not too low.
- Degrees of freedom of a group: one fewer than its sessions. For rates, which are skewed and come from sessions of
  different lengths, fewer: those of Bell and McCaffrey, "Bias reduction in standard errors for linear regression with
  multi-stage samples", 2002, assuming that the sessions' rates have equal variances.
- Degrees of freedom of the mean: Welch, "The generalization of 'Student's' problem when several different population
  variances are involved", 1947, in the form with 2 added in each denominator, and at most the sum of the groups'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

# An interval whose upper end exceeds the rate by more than this factor is uninformative and dropped.
WIDEST_FACTOR = 10.0


def rate_interval(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of the mean of the groups' rates, (...) each, on a log scale, so never below zero.

    errors: (..., sessions); lengths: (..., sessions) or (sessions,); groups: (sessions,), each with reference tokens.
    nan if a group has fewer than two sessions with tokens, or if the upper end would exceed `WIDEST_FACTOR` times the
    rate.
    """
    found = _Jackknife.of(errors, lengths, groups)
    width = found.half_width(_bell_mccaffrey(found.weights * found.shares**2, found.shares, found.of_group), level)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.exp(np.where((found.mean > 0) | np.isnan(width), width / found.mean, 0.0))
    factor = np.where(factor <= WIDEST_FACTOR, factor, np.nan)
    return found.mean / factor, found.mean * factor


def difference_interval(
    changes: np.ndarray, lengths: np.ndarray, groups: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of the mean of the groups' differences of rates, (...) each.

    changes: (..., sessions), errors of one system minus those of another; lengths, groups: as in `rate_interval`. nan
    if a group has fewer than two sessions with tokens.
    """
    found = _Jackknife.of(changes, lengths, groups)
    width = found.half_width(found.counts - 1, level)
    return found.mean - width, found.mean + width


@dataclass(frozen=True)
class _Jackknife:
    """mean: (...); variances: (..., groups), of their rates; counts: (..., groups), sessions with tokens; shares,
    weights: (..., sessions), of the group's tokens, and of squared residuals in its variance; of_group: (sessions,
    groups), 1 at a session's group.
    """

    mean: np.ndarray
    variances: np.ndarray
    counts: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    of_group: np.ndarray

    @classmethod
    def of(cls, errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray) -> _Jackknife:
        names, group_of_session = np.unique(groups, return_inverse=True)
        of_group = (group_of_session[:, None] == np.arange(names.size)).astype(np.float64)
        tokens = lengths @ of_group
        counts = (lengths > 0).astype(np.float64) @ of_group
        rates = (errors @ of_group) / tokens
        shares = lengths / tokens[..., group_of_session]
        residuals = (errors - rates[..., group_of_session] * lengths) / tokens[..., group_of_session]
        with np.errstate(divide="ignore", invalid="ignore"):
            # Without session i its group's rate would be lower by residual_i / (1 - share_i).
            weights = ((counts - 1) / counts)[..., group_of_session] / (1 - shares) ** 2
            variances = (weights * residuals**2) @ of_group
        return cls(rates.mean(axis=-1), variances, counts, shares, weights, of_group)

    def half_width(self, freedom: np.ndarray, level: float) -> np.ndarray:
        """Half the width of the interval of the mean, (...); freedom: (..., groups), of each group's variance."""
        with np.errstate(divide="ignore", invalid="ignore"):
            total, most = self.variances.sum(axis=-1), freedom.sum(axis=-1)
            welch = total**2 / (self.variances**2 / (freedom + 2)).sum(axis=-1) - 2
            bounded = np.maximum(np.where(total > 0, np.minimum(welch, most), most), 1.0)
            width = stdtrit(bounded, (1 + level) / 2) * np.sqrt(total) / self.variances.shape[-1]
        return np.where((self.counts >= 2).all(axis=-1), width, np.nan)


def _bell_mccaffrey(weights: np.ndarray, shares: np.ndarray, of_group: np.ndarray) -> np.ndarray:
    """tr(A)^2 / tr(A^2) of each group, (..., groups), where its variance is r' A r of its sessions' rates r.

    A = C' diag(weights) C with C = I - 1 shares', so that C C' has 1 - 2 share_i + q on its diagonal and
    q - share_i - share_j elsewhere, q = sum(shares^2).
    """
    squares = (shares**2) @ of_group
    own = squares @ of_group.T
    trace = (weights * (1 - 2 * shares + own)) @ of_group
    total, once, twice = (weights * shares**power @ of_group for power in (0, 1, 2))
    trace_of_square = (
        (weights**2 * (1 - 4 * shares + 2 * own)) @ of_group
        + 2 * total * twice
        + 2 * once**2
        + squares**2 * total**2
        - 4 * squares * total * once
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return trace**2 / trace_of_square
