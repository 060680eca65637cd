"""Comparisons of systems against hand-worked cases, scipy, and loops over one pair at a time."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats

from mlcslm.scoring.compare import EXACT_SESSIONS, Comparison, compare_systems
from mlcslm.scoring.intervals import pooled_interval


def pair(errors_a: list[float], errors_b: list[float], lengths: list[float], **options: float) -> Comparison:
    (found,) = compare_systems(np.array([errors_a, errors_b]), np.array(lengths), **({"seed": 1} | options))
    return found


def many(systems: int, sessions: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(500, 6000, sessions)
    difficulty = rng.uniform(0.05, 0.4, sessions)
    return rng.binomial(lengths, np.clip(difficulty * rng.uniform(0.8, 1.2, (systems, 1)), 0, 1)), lengths


def test_by_hand() -> None:
    # One error less in either session of ten tokens; two sessions are too few for an interval.
    found = pair([2, 2], [1, 1], [10, 10])
    assert (found.rate_a, found.rate_b, found.difference) == (0.2, 0.1, -0.1)
    assert math.isnan(found.low) and math.isnan(found.high)
    assert (found.sessions, found.fewer, found.more) == (2, 2, 0)
    # Of four ways to exchange the two in two sessions, two give a difference as large.
    assert found.p_value == 0.5
    # Two errors less in the first session alone.
    uneven = pair([2, 1], [0, 1], [10, 10])
    assert (uneven.fewer, uneven.more, uneven.p_value) == (1, 0, 1.0)


@pytest.mark.parametrize("sessions", [5, 60])
def test_sessions_of_one_length_have_the_interval_of_the_paired_t_test(sessions: int) -> None:
    errors, _ = many(2, sessions)
    lengths = np.full(sessions, 6000)
    found = pair(errors[0].tolist(), errors[1].tolist(), lengths.tolist(), level=0.9)
    expected = stats.ttest_rel(errors[1] / 6000, errors[0] / 6000).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert math.isnan(pair([1, 2, 3, 4], [2, 3, 5, 7], [9] * 4).low)


def test_means_of_groups_by_hand() -> None:
    # Group a: 3 and 1 of 10 tokens, b: 30 and 20 of 100. Pooled 33 and 21 of 110, which b decides.
    errors, lengths, groups = np.array([[1, 2, 30], [1, 0, 20]]), np.array([5, 5, 100]), np.array(["a", "a", "b"])
    (found,) = compare_systems(errors, lengths, groups, pooled=False, seed=1)
    assert (found.rate_a, found.rate_b) == pytest.approx(((0.3 + 0.3) / 2, (0.1 + 0.2) / 2))
    assert found.difference == pytest.approx(-0.15) and math.isnan(found.low)
    # Changes of 0, -0.1 and -0.05 of the mean: exchanging both or none leaves 0.15, and the first counts for nothing.
    assert (found.sessions, found.fewer, found.more, found.p_value) == (3, 2, 0, 0.5)
    # A group without tokens is left out, its session with it.
    (more,) = compare_systems(
        np.array([[1, 2, 30, 7], [1, 0, 20, 0]]),
        np.array([5, 5, 100, 0]),
        np.array(["a", "a", "b", "c"]),
        pooled=False,
        seed=1,
    )
    assert more == found or (more.sessions, more.difference, more.p_value) == (3, found.difference, 0.5)


def test_means_of_groups_have_welchs_interval() -> None:
    """Two groups of one length: the difference of the systems' differences, with a sign turned, is Welch's problem."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(100, 400, (2, 6)), rng.integers(100, 200, (2, 9))
    errors, groups = np.concatenate([a, b], axis=1), np.repeat(["a", "b"], [6, 9])
    (found,) = compare_systems(errors, np.full(15, 1000), groups, pooled=False, seed=1)
    x, y = (a[1] - a[0]) / 1000, (b[1] - b[0]) / 1000
    variances = x.var(ddof=1) / 6, y.var(ddof=1) / 9
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 7 + variances[1] ** 2 / 10) - 2
    width = stats.t.ppf(0.975, min(freedom, 13)) * math.sqrt(sum(variances)) / 2
    middle = (x.mean() + y.mean()) / 2
    assert (found.low, found.high) == pytest.approx((middle - width, middle + width))


def test_systems_that_are_the_same_do_not_differ() -> None:
    errors, lengths = many(1, 40)
    found = pair(errors[0].tolist(), errors[0].tolist(), lengths.tolist())
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_exchanging_the_systems_turns_the_sign() -> None:
    errors, lengths = many(2, 30)
    there = pair(errors[0].tolist(), errors[1].tolist(), lengths.tolist())
    back = pair(errors[1].tolist(), errors[0].tolist(), lengths.tolist())
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert (back.p_value, back.fewer, back.more) == (there.p_value, there.more, there.fewer)


def test_pairing_sees_what_two_intervals_hide() -> None:
    # Sessions differ a lot from each other, and b is a little better in each.
    lengths = np.full(40, 1000)
    worse = np.linspace(50, 700, 40).astype(int)
    better = worse - 10
    intervals = [pooled_interval(errors, lengths) for errors in (worse, better)]
    assert intervals[1][1] > intervals[0][0]
    found = pair(worse.tolist(), better.tolist(), lengths.tolist())
    assert (found.low, found.high) == pytest.approx((-0.01, -0.01)) and found.p_value == 1 / 1001


def test_interval_of_many_sessions_is_about_that_of_scipys_bootstrap() -> None:
    errors, lengths = many(2, 200)
    found = pair(errors[0].tolist(), errors[1].tolist(), lengths.tolist())
    expected = stats.bootstrap(
        (errors[0], errors[1], lengths),
        lambda a, b, n, axis: (b.sum(axis) - a.sum(axis)) / n.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_pooled_differences_vary_within_groups() -> None:
    """All sessions of a group improve alike, but the groups do not: nothing is left to chance."""
    errors, groups = np.array([[30.0] * 8, [20.0] * 4 + [25.0] * 4]), np.repeat(["a", "b"], 4)
    (found,) = compare_systems(errors, np.full(8, 100), groups, seed=1)
    assert (found.difference, found.low, found.high) == pytest.approx((-0.075,) * 3)
    (mixed,) = compare_systems(errors, np.full(8, 100), seed=1)
    assert mixed.low < -0.08 and mixed.high > -0.07
    # Rates and test are those of all sessions, whatever their groups.
    assert (found.rate_a, found.rate_b, found.p_value) == (mixed.rate_a, mixed.rate_b, mixed.p_value)


@pytest.mark.parametrize("sessions", [3, 8, EXACT_SESSIONS])
def test_few_sessions_have_the_exact_p_value_of_scipy(sessions: int) -> None:
    for seed in range(5):
        errors, lengths = many(2, sessions, seed)
        changes = (errors[1] - errors[0]).astype(float)
        expected = stats.permutation_test(
            (changes,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert pair(errors[0].tolist(), errors[1].tolist(), lengths.tolist()).p_value == pytest.approx(expected)


def test_many_sessions_have_about_the_p_value_of_scipy() -> None:
    errors, lengths = many(2, 40, seed=8)
    errors[1] = errors[0] + np.random.default_rng(2).integers(-60, 85, 40).clip(-errors[0])
    changes = (errors[1] - errors[0]).astype(float)
    expected = stats.permutation_test(
        (changes,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(3),
    ).pvalue
    assert 0.01 < expected < 0.9
    found = pair(errors[0].tolist(), errors[1].tolist(), lengths.tolist(), samples=20_000)
    assert found.p_value == pytest.approx(expected, abs=0.015)


def test_p_values_of_systems_alike_are_spread_evenly() -> None:
    rng, found = np.random.default_rng(4), []
    for _ in range(300):
        errors = rng.binomial(200, 0.2, (2, 20))
        found.append(pair(errors[0].tolist(), errors[1].tolist(), [200] * 20, samples=200).p_value)
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.1
    assert 0.4 <= np.mean(np.array(found) < 0.5) <= 0.6


def test_all_pairs_at_once_are_each_pair_alone() -> None:
    errors, lengths = many(5, 30)
    found = compare_systems(errors, lengths, seed=2)
    assert [(one.a, one.b) for one in found] == [(a, b) for a in range(5) for b in range(a + 1, 5)]
    for one in found:
        (alone,) = compare_systems(errors[[one.a, one.b]], lengths, seed=2)
        names = ("difference", "low", "high", "p_value", "fewer", "more", "rate_a", "rate_b")
        expected = [getattr(alone, name) for name in names]
        assert [getattr(one, name) for name in names] == pytest.approx(expected, rel=1e-12)


def test_seconds_need_not_be_whole() -> None:
    found = pair([0.1, 0.2, 0.3], [0.3, 0.1, 0.2], [1.0, 1.0, 1.0])
    assert found.difference == pytest.approx(0.0) and found.p_value == 1.0


def test_without_reference_tokens_there_is_no_rate() -> None:
    found = pair([1], [0], [0])
    assert all(map(math.isnan, (found.rate_a, found.difference, found.low, found.high)))
    partly = pair([1, 0], [1, 2], [4, 0])
    assert partly.difference == pytest.approx(0.5) and math.isnan(partly.low)
    # Sessions without a token do not make five of four.
    assert math.isnan(pair([1, 2, 3, 4, 0], [2, 3, 5, 7, 1], [9, 9, 9, 9, 0]).low)
    assert not math.isnan(pair([1, 2, 3, 4, 0], [2, 3, 5, 7, 1], [9, 9, 9, 9, 1]).low)


def test_one_system_or_none_gives_no_pair() -> None:
    assert compare_systems(np.ones((1, 3)), np.ones(3), seed=0) == []
    assert compare_systems(np.ones((0, 3)), np.ones(3), seed=0) == []


@pytest.mark.parametrize(
    ("errors", "lengths", "options"),
    [
        ([1, 2], [1, 2], {}),
        ([[1, 2]], [1], {}),
        ([[1, 2]], [1, 1], {"groups": np.array(["a"])}),
        ([[], []], [], {}),
        ([[-1, 0]], [1, 1], {}),
        ([[1, 0]], [-1, 1], {}),
        ([[1, 0]], [1, 1], {"samples": 0}),
        ([[1, 0]], [1, 1], {"level": 1.0}),
    ],
)
def test_impossible_arguments_are_refused(errors: list, lengths: list, options: dict) -> None:
    with pytest.raises(ValueError):
        compare_systems(np.array(errors), np.array(lengths), **({"seed": 0} | options))


def test_every_pair_of_thirty_systems_on_110_sessions_takes_less_than_seconds() -> None:
    errors, lengths = many(30, 110)
    started = time.process_time()
    assert len(compare_systems(errors, lengths, seed=1)) == 435
    assert time.process_time() - started < 5
