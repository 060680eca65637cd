from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mlcslm.scoring.bootstrap import bootstrap_interval


def test_one_session_gives_its_rate_twice():
    assert bootstrap_interval(np.array([3]), np.array([12]), seed=0) == (0.25, 0.25)


def test_equal_sessions_leave_nothing_uncertain():
    assert bootstrap_interval(np.full(9, 2), np.full(9, 8), seed=0) == (0.25, 0.25)


def test_two_sessions_give_the_ends_of_their_exact_distribution():
    # Drawing 2 of {0/10, 10/10}: rates 0, 0.5 and 1 with probabilities 1/4, 1/2 and 1/4.
    assert bootstrap_interval(np.array([0, 10]), np.array([10, 10]), seed=1) == (0.0, 1.0)
    assert bootstrap_interval(np.array([0, 10]), np.array([10, 10]), level=0.4, seed=1) == (0.5, 0.5)


def test_rates_are_pooled_not_averaged():
    # The short session is all wrong, yet no draw but the all-short one (1 in 4) gets past 1 of 100 tokens or so.
    low, high = bootstrap_interval(np.array([1, 0]), np.array([1, 99]), level=0.4, seed=1)
    assert low == high == 0.01


def test_agrees_with_scipy_s_percentile_bootstrap():
    rng = np.random.default_rng(5)
    lengths = rng.integers(500, 6000, 110)
    errors = rng.binomial(lengths, rng.uniform(0.05, 0.5, 110))
    expected = stats.bootstrap(
        (errors, lengths),
        lambda e, n, axis: e.sum(axis) / n.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(7),
    ).confidence_interval
    low, high = bootstrap_interval(errors, lengths, samples=20_000, seed=3)
    assert low == pytest.approx(expected.low, abs=1e-3)
    assert high == pytest.approx(expected.high, abs=1e-3)
    assert low < errors.sum() / lengths.sum() < high


def test_seed_decides():
    errors, lengths = np.arange(30), np.full(30, 40)
    assert bootstrap_interval(errors, lengths, seed=4) == bootstrap_interval(errors, lengths, seed=4)
    assert bootstrap_interval(errors, lengths, seed=4) != bootstrap_interval(errors, lengths, seed=5)


def test_sessions_without_reference_tokens():
    assert all(math.isnan(end) for end in bootstrap_interval(np.array([2, 0]), np.array([0, 0]), seed=0))
    low, high = bootstrap_interval(np.array([1, 0]), np.array([4, 0]), seed=0)
    assert low == high == 0.25


def test_totals_over_32_bits_do_not_overflow():
    big = np.full(4, 2**30, dtype=np.int32)
    assert bootstrap_interval(big, big, seed=0) == (1.0, 1.0)


@pytest.mark.parametrize(("errors", "lengths"), [([], []), ([1], [1, 2]), ([[1]], [[1]]), ([-1], [1])])
def test_impossible_arrays_are_refused(errors: list, lengths: list):
    with pytest.raises(ValueError):
        bootstrap_interval(np.array(errors, dtype=int), np.array(lengths, dtype=int), seed=0)
