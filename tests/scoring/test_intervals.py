"""Which interval is printed: hand-worked cases, scipy's, and when there is none. For coverage see test_coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mlcslm.scoring.bootstrap import bootstrap_interval
from mlcslm.scoring.intervals import group_mean_interval, has_interval, pooled_interval
from mlcslm.scoring.jackknife import WIDEST_FACTOR, rate_interval


def absent(ends: tuple[float, float]) -> bool:
    return all(map(math.isnan, ends))


def test_below_five_sessions_there_is_none() -> None:
    assert absent(pooled_interval(np.array([1, 2, 3, 4]), np.full(4, 9), seed=0))
    assert not absent(pooled_interval(np.array([1, 2, 3, 4, 5]), np.full(5, 9), seed=0))
    assert absent(pooled_interval(np.array([1, 2, 3, 4, 5]), np.array([9, 9, 9, 9, 0]), seed=0))
    assert absent(pooled_interval(np.array([0, 2]), np.array([0, 0]), seed=0))


def test_from_thirty_sessions_on_it_is_the_bootstraps() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.integers(500, 6000, 30)
    errors = rng.binomial(lengths, rng.uniform(0.05, 0.5, 30))
    # Student's t of 29 degrees of freedom, 2.045, times sqrt(30 / 29) is the normal distribution's 98.12 % quantile.
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, 29) * math.sqrt(30 / 29)) - 1
    assert level == pytest.approx(2 * 0.9812 - 1, abs=1e-4)
    assert pooled_interval(errors, lengths, seed=3) == bootstrap_interval(errors, lengths, level=level, seed=3)
    assert pooled_interval(errors[1:], lengths[1:], seed=3) != bootstrap_interval(errors[1:], lengths[1:], seed=3)


@pytest.mark.parametrize("sessions", [5, 12, 29])
def test_sessions_of_one_length_have_students_interval_on_the_logarithms_scale(sessions: int) -> None:
    errors = np.random.default_rng(sessions).integers(50, 300, sessions)
    low, high = pooled_interval(errors, np.full(sessions, 1000), seed=0)
    rates = errors / 1000
    width = stats.t.ppf(0.975, sessions - 1) * stats.sem(rates) / rates.mean()
    # Equal shares leave Bell and McCaffrey's degrees of freedom at one fewer than the sessions.
    assert (low, high) == pytest.approx((rates.mean() * math.exp(-width), rates.mean() * math.exp(width)))


def test_sessions_of_unlike_lengths_are_deleted_one_at_a_time() -> None:
    errors = np.array([15.0, 40.0, 11.0, 50.0, 18.0, 29.0])
    lengths = np.array([50.0, 200.0, 70.0, 250.0, 60.0, 90.0])
    rate = errors.sum() / lengths.sum()
    without = (errors.sum() - errors) / (lengths.sum() - lengths)
    variance = 5 / 6 * ((without - rate) ** 2).sum()
    # The same as r' A r of the sessions' rates r; with A's eigenvalues e it has sum(e)^2 / sum(e^2) degrees of freedom.
    shares, rates = lengths / lengths.sum(), errors / lengths
    centred = np.eye(6) - np.outer(np.ones(6), shares)
    form = centred.T @ np.diag(5 / 6 * shares**2 / (1 - shares) ** 2) @ centred
    assert rates @ form @ rates == pytest.approx(variance)
    spread = np.linalg.eigvalsh(form)
    factor = math.exp(stats.t.ppf(0.975, spread.sum() ** 2 / (spread**2).sum()) * math.sqrt(variance) / rate)
    assert pooled_interval(errors, lengths, seed=0) == pytest.approx((rate / factor, rate * factor))


def test_groups_count_alike() -> None:
    rng = np.random.default_rng(2)
    lengths, groups = np.full(8, 1000), np.repeat(["a", "b"], 4)
    errors = rng.integers(50, 100, 8)
    low, high = group_mean_interval(errors, lengths, groups)
    # Ten times the tokens and errors of one group change nothing.
    more = np.where(groups == "a", 10, 1)
    assert group_mean_interval(errors * more, lengths * more, groups) == pytest.approx((low, high))
    assert low < (errors[:4].mean() + errors[4:].mean()) / 2000 < high
    # With one group it is the pooled rate's.
    assert group_mean_interval(errors, lengths, np.zeros(8)) == pooled_interval(errors, lengths, seed=1)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([5], True), ([4], False), ([2, 2], False), ([2, 3], False), ([3, 3], True), ([2, 2, 2], False),
     ([2, 2, 2, 2], True), ([2] * 15, True), ([7] * 15, True), ([1] + [7] * 14, False), ([2, 30], False), ([], False)],
)  # fmt: skip
def test_sessions_must_be_enough_in_every_group(sizes: list[int], expected: bool) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    lengths = np.full(groups.size, 100)
    assert has_interval(lengths, groups) is expected
    ends = group_mean_interval(np.arange(groups.size) % 7 + 20, lengths, groups)
    assert absent(ends) is not expected
    # A group without tokens asks for nothing, and gives nothing.
    more = np.append(groups, 99), np.append(lengths, 0)
    assert has_interval(more[1], more[0]) is expected


def test_without_errors_there_is_nothing_to_be_unsure_of() -> None:
    assert pooled_interval(np.zeros(6), np.full(6, 10), seed=0) == (0.0, 0.0)
    assert group_mean_interval(np.full(8, 2), np.full(8, 10), np.arange(8) // 2) == pytest.approx((0.2, 0.2))


def test_an_interval_that_says_nothing_is_left_out() -> None:
    # Nearly all tokens, and all errors, in one session.
    assert absent(pooled_interval(np.array([900, 0, 0, 0, 0]), np.array([9000, 1, 1, 1, 1]), seed=0))
    low, high = pooled_interval(np.array([90, 10, 20, 5, 8]), np.full(5, 100), seed=0)
    assert high / 0.266 < WIDEST_FACTOR
    low, high = rate_interval(np.array([1.0, 2.0]), np.array([9.0, 0.0]), np.zeros(2), 0.95)
    assert math.isnan(low) and math.isnan(high)


@pytest.mark.parametrize(
    ("errors", "lengths", "groups", "options"),
    [
        ([1, 3], [1, 3], ["a"], {}),
        ([1, 3], [1], ["a", "b"], {}),
        ([-1, 3], [1, 3], ["a", "b"], {}),
        ([1, 3], [1, 3], ["a", "b"], {"level": 1.0}),
    ],
)
def test_impossible_arguments_are_refused(errors: list, lengths: list, groups: list, options: dict) -> None:
    with pytest.raises(ValueError):
        group_mean_interval(np.array(errors), np.array(lengths), np.array(groups), **options)
    if len(errors) != len(lengths):
        with pytest.raises(ValueError):
            pooled_interval(np.array(errors), np.array(lengths), seed=0)
