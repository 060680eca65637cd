"""Student's t intervals of error rates, and of their differences: a jackknife of sessions within groups.

The estimate is the pooled rate sum(errors) / sum(lengths), or the mean of the groups' pooled rates. Sessions are
sampled within groups, which are fixed.

- Variance: deleting one session at a time; those left of its group weigh n / (n - 1), so that groups keep their shares
  (the stratified jackknife of Rust and Rao, "Variance estimation for complex surveys using replication techniques",
  1996). Unlike that of a bootstrap, it is not too low with few sessions, nor too high where groups differ.
- Degrees of freedom of a group: one fewer than its sessions. For rates, which are skewed and come from sessions of
  different lengths, fewer: those of Bell and McCaffrey, "Bias reduction in standard errors for linear regression with
  multi-stage samples", 2002, assuming that the sessions' rates have equal variances.
- Degrees of freedom overall: Welch, "The generalization of 'Student's' problem when several different population
  variances are involved", 1947, in the form with 2 added in each denominator, and at most the sum of the groups'. They
  are too many if the variance of a small group happens to be found low. For rates, the harmonic mean is taken with
  those that follow if all groups' sessions vary alike, relative to the group's rate (2 over the degrees of freedom is
  the relative variance of the variance, and this is what is averaged).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

# An interval whose upper end exceeds the rate by more than this factor is uninformative and dropped.
WIDEST_FACTOR = 10.0


def rate_interval(
    errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray, level: float, *, pooled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of the pooled rate, or of the mean of the groups' rates, (...) each.

    They are symmetric on a log scale, so never below zero. errors: (..., sessions); lengths: (..., sessions) or
    (sessions,); groups: (sessions,), each with reference tokens. nan if a group has fewer than two sessions with
    tokens, or if the upper end would exceed `WIDEST_FACTOR` times the rate.
    """
    found = _Jackknife.of(errors, lengths, groups, pooled)
    width = found.half_width(found.freedom_of_rate(), level)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = np.exp(np.where((found.estimate > 0) | np.isnan(width), width / found.estimate, 0.0))
    factor = np.where(factor <= WIDEST_FACTOR, factor, np.nan)
    return found.estimate / factor, found.estimate * factor


def difference_interval(
    changes: np.ndarray, lengths: np.ndarray, groups: np.ndarray, level: float, *, pooled: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of the difference of pooled rates, or of the mean of the groups' differences, (...) each.

    changes: (..., sessions), errors of one system minus those of another; lengths, groups: as in `rate_interval`. nan
    if a group has fewer than two sessions with tokens.
    """
    found = _Jackknife.of(changes, lengths, groups, pooled)
    width = found.half_width(found.welch(found.counts - 1), level)
    return found.estimate - width, found.estimate + width


@dataclass(frozen=True)
class _Jackknife:
    """estimate: (...); rates, variances, counts: (..., groups), each group's rate, its part of the estimate's variance,
    and its sessions with tokens; weights: (..., groups), of its rate in the estimate; shares: (..., sessions), of the
    group's tokens; of_group: (sessions, groups), 1 at a session's group.
    """

    estimate: np.ndarray
    rates: np.ndarray
    variances: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    shares: np.ndarray
    of_group: np.ndarray

    @classmethod
    def of(cls, errors: np.ndarray, lengths: np.ndarray, groups: np.ndarray, pooled: bool) -> _Jackknife:
        names, group = np.unique(groups, return_inverse=True)
        of_group = (group[:, None] == np.arange(names.size)).astype(np.float64)
        tokens, total = lengths @ of_group, lengths.sum(axis=-1, keepdims=True)
        counts = (lengths > 0).astype(np.float64) @ of_group
        rates = (errors @ of_group) / tokens
        # Errors of a session without tokens belong to the estimate, but there is nothing to learn from leaving it out.
        deletable = np.where(lengths > 0, errors, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            if pooled:
                weights, estimate = tokens / total, errors.sum(axis=-1) / total[..., 0]
                more = (counts / (counts - 1))[..., group]
                errors_without, tokens_without = (
                    counted.sum(axis=-1, keepdims=True) - within + (within - deleted) * more
                    for counted, deleted, within in (
                        (errors, deletable, (deletable @ of_group)[..., group]),
                        (lengths, lengths, tokens[..., group]),
                    )
                )
                deviations = errors_without / tokens_without - estimate[..., None]
            else:
                weights, estimate = np.full(tokens.shape, 1 / names.size), rates.mean(axis=-1)
                residuals = deletable - rates[..., group] * lengths
                # Without session i its group's rate would be lower by this.
                deviations = residuals / (tokens[..., group] - lengths) / names.size
            squares = np.where(lengths > 0, deviations**2, 0.0) @ of_group
            variances = (counts - 1) / counts * squares
        return cls(estimate, rates, variances, counts, weights, lengths / tokens[..., group], of_group)

    def freedom_of_rate(self) -> np.ndarray:
        """Degrees of freedom of a rate's variance: (...)."""
        trace, trace_of_square = self._traces()
        typical = (self.weights * self.rates) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = trace**2 / trace_of_square
            alike = (typical * trace).sum(axis=-1) ** 2 / (typical**2 * trace_of_square).sum(axis=-1)
        welch = self.welch(freedom)
        return np.where(np.isfinite(alike), 2 / (1 / welch + 1 / alike), welch)

    def welch(self, freedom: np.ndarray) -> np.ndarray:
        """Degrees of freedom of the estimate's variance, (...); freedom: (..., groups), of each group's."""
        total, most = self.variances.sum(axis=-1), freedom.sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = total**2 / (self.variances**2 / (freedom + 2)).sum(axis=-1) - 2
        return np.maximum(np.where(total > 0, np.minimum(found, most), most), 1.0)

    def half_width(self, freedom: np.ndarray, level: float) -> np.ndarray:
        """Half the width of the interval of the estimate, (...); freedom: (...)."""
        width = stdtrit(freedom, (1 + level) / 2) * np.sqrt(self.variances.sum(axis=-1))
        return np.where((self.counts >= 2).all(axis=-1), width, np.nan)

    def _traces(self) -> tuple[np.ndarray, np.ndarray]:
        """tr(A) and tr(A^2) of each group, (..., groups), where its rate's variance is r' A r of its sessions' rates r.

        A = C' diag(w) C with w = (n - 1) / n share^2 / (1 - share)^2 and C = I - 1 shares', so that C C' has
        1 - 2 share_i + q on its diagonal and q - share_i - share_j elsewhere, q = sum(shares^2). Bell and McCaffrey's
        degrees of freedom are tr(A)^2 / tr(A^2).
        """
        shares, of_group = self.shares, self.of_group
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = ((self.counts - 1) / self.counts) @ of_group.T * shares**2 / (1 - shares) ** 2
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
        return trace, trace_of_square
