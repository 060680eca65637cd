"""Which interval is printed: hand-worked cases, scipy's, and when there is none. For coverage see test_coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mlcslm.scoring.intervals import group_mean_interval, has_interval, pooled_interval, pooling_groups
from mlcslm.scoring.jackknife import WIDEST_FACTOR, rate_interval


def absent(ends: tuple[float, float]) -> bool:
    return all(map(math.isnan, ends))


def test_below_five_sessions_there_is_none() -> None:
    assert absent(pooled_interval(np.array([1, 2, 3, 4]), np.full(4, 9)))
    assert not absent(pooled_interval(np.array([1, 2, 3, 4, 5]), np.full(5, 9)))
    assert absent(pooled_interval(np.array([1, 2, 3, 4, 5]), np.array([9, 9, 9, 9, 0])))
    assert absent(pooled_interval(np.array([0, 2]), np.array([0, 0])))


@pytest.mark.parametrize("sessions", [5, 12, 60])
def test_sessions_of_one_length_have_students_interval_on_the_logarithms_scale(sessions: int) -> None:
    errors = np.random.default_rng(sessions).integers(50, 300, sessions)
    low, high = pooled_interval(errors, np.full(sessions, 1000))
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
    assert pooled_interval(errors, lengths) == pytest.approx((rate / factor, rate * factor))


def test_a_pooled_rate_varies_within_groups() -> None:
    """Ten sessions of one length: the strata's sum of squares, worked by hand, on the logarithms' scale."""
    errors = np.array([100.0, 140, 110, 150, 130, 400, 480, 430, 440, 450])
    groups, lengths = np.repeat(["a", "b"], 5), np.full(10, 1000)
    a, b = errors[:5] / 1000, errors[5:] / 1000
    variances = np.array([a.var(ddof=1) / 5, b.var(ddof=1) / 5]) / 4
    welch = variances.sum() ** 2 / (variances**2 / 6).sum() - 2
    alike = np.array([a.mean(), b.mean()]) ** 2
    freedom = stats.hmean([min(welch, 8), 4 * alike.sum() ** 2 / (alike**2).sum()])
    rate = errors.sum() / 10_000
    factor = math.exp(stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum()) / rate)
    # Leaving out a session scales the others of its group, so the estimate stays linear: the jackknife is exact.
    assert pooled_interval(errors, lengths, groups) == pytest.approx((rate / factor, rate * factor))
    # As if of one group, the difference of the groups would widen it.
    low, high = pooled_interval(errors, lengths)
    assert low < rate / factor and high > rate * factor
    # Which group has how many tokens does not matter where there is one rate, and one length.
    even = group_mean_interval(errors, lengths, groups)
    assert pooled_interval(errors, lengths, groups) == pytest.approx(even)


def test_sessions_alone_in_their_group_are_joined() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(["a", "b", "c", "d"], [8, 10, 1, 1])
    lengths, errors = np.full(20, 1000), rng.integers(50, 200, 20)
    joined = np.where(np.isin(groups, ["c", "d"]), "c", groups)
    assert pooled_interval(errors, lengths, groups) == pooled_interval(errors, lengths, joined)
    # A single one joins the smallest group.
    assert pooling_groups(lengths[:19], groups[:19]).tolist() == ["a"] * 8 + ["b"] * 10 + ["a"]
    # More than a tenth: others of their groups might be anything.
    more = np.array([*"aaaaaaaa", "b", "c"])
    assert pooling_groups(np.ones(10), more) is None
    assert absent(pooled_interval(errors[:10], lengths[:10], more))


def test_sessions_without_tokens_weigh_nothing() -> None:
    errors, lengths = np.array([10.0, 14, 9, 17, 12, 20, 31]), np.array([100.0, 90, 120, 100, 80, 110, 100])
    groups = np.array([*"aaaabbb"])
    expected = pooled_interval(errors, lengths, groups)
    more = np.append(errors, 0), np.append(lengths, 0), np.append(groups, "z")
    assert pooled_interval(*more) == pytest.approx(expected)
    # Words that were recognised in it are errors, but not of any other session.
    low, high = pooled_interval(np.append(errors, 7), *more[1:])
    assert low * high == pytest.approx((120 / 700) ** 2)


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
    assert group_mean_interval(errors, lengths, np.zeros(8)) == pytest.approx(pooled_interval(errors, lengths))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([5], True), ([4], False), ([2, 2], False), ([2, 3], False), ([3, 3], False), ([3, 4], True), ([2, 2, 2], False),
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
    assert pooled_interval(np.zeros(6), np.full(6, 10)) == (0.0, 0.0)
    assert group_mean_interval(np.full(8, 2), np.full(8, 10), np.arange(8) // 2) == pytest.approx((0.2, 0.2))


def test_an_interval_that_says_nothing_is_left_out() -> None:
    # Nearly all tokens, and all errors, in one session.
    assert absent(pooled_interval(np.array([900, 0, 0, 0, 0]), np.array([9000, 1, 1, 1, 1])))
    low, high = pooled_interval(np.array([90, 10, 20, 5, 8]), np.full(5, 100))
    assert high / 0.266 < WIDEST_FACTOR
    low, high = rate_interval(np.array([1.0, 2.0]), np.array([9.0, 0.0]), np.zeros(2), 0.95, pooled=True)
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
            pooled_interval(np.array(errors), np.array(lengths))
