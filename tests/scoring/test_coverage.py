"""Coverage of intervals and p-values in thousands of simulated evaluations with known true rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mlcslm.scoring.compare import compare_systems, randomisation_p_values
from mlcslm.scoring.intervals import group_mean_interval, has_interval, pooled_interval
from mlcslm.scoring.jackknife import difference_interval, rate_interval

pytestmark = pytest.mark.slow

SEED = 20261128
RATES = {15: np.linspace(0.08, 0.45, 15), 5: np.array([0.1, 0.15, 0.2, 0.3, 0.4]), 2: np.array([0.2, 0.3])}
ONE = np.array([0.2])
# Groups and sessions of each.
DESIGNS = [(1, 5), (1, 7), (1, 12), (1, 29), (2, 3), (2, 7), (5, 2), (5, 7), (15, 2), (15, 3), (15, 7)]


@dataclass(frozen=True)
class Evaluations:
    """Errors of two systems, the second a tenth better, and reference tokens: (datasets, sessions)."""

    first: np.ndarray
    second: np.ndarray
    lengths: np.ndarray
    groups: np.ndarray


def evaluations(rates: np.ndarray, sessions: int, *, datasets: int, spread: float = 0.4) -> Evaluations:
    """Sessions of each group, of very unlike lengths (standard deviation 40 % of the mean) and difficulties.

    spread: standard deviation of sessions' rates, as a share of their group's. What makes a session hard is hard for
    both systems, but each has good and bad days of its own, a quarter of the rate.
    """
    rng = np.random.default_rng([SEED, rates.size, sessions, int(100 * spread)])
    groups = np.repeat(np.arange(rates.size), sessions)
    shape = datasets, groups.size
    lengths = np.ceil(rng.lognormal(np.log(2500), 0.4, shape))
    difficulty = rates[groups] * rng.gamma(spread**-2, spread**2, shape)
    first, second = (rng.poisson(lengths * better * difficulty * rng.gamma(16, 1 / 16, shape)) for better in (1, 0.9))
    return Evaluations(first.astype(float), second.astype(float), lengths, groups)


def coverage(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    """Percent of the existing intervals (nearly all exist) that cover the true rate."""
    there = np.isfinite(low)
    assert there.mean() > 0.9
    return 100 * float(np.mean((low[there] <= truth) & (truth <= high[there])))


@pytest.mark.parametrize("spread", [0.25, 0.6])
@pytest.mark.parametrize(("groups", "sessions"), DESIGNS)
def test_from_five_sessions_on_the_jackknife_holds_what_it_says(groups: int, sessions: int, spread: float) -> None:
    rates = RATES.get(groups, ONE)
    made = evaluations(rates, sessions, datasets=6000, spread=spread)
    assert has_interval(made.lengths[0], made.groups)
    for system, truth in ((made.first, rates.mean()), (made.second, 0.9 * rates.mean())):
        assert 93 <= coverage(*rate_interval(system, made.lengths, made.groups, 0.95), truth) <= 97
    low, high = difference_interval(made.second - made.first, made.lengths, made.groups, 0.95)
    assert 93 <= coverage(low, high, -0.1 * rates.mean()) <= 97


@pytest.mark.parametrize("sessions", [60, 110])
def test_from_thirty_sessions_on_the_bootstrap_of_pooled_rates_does(sessions: int) -> None:
    made = evaluations(ONE, sessions, datasets=1000)
    ends = [pooled_interval(*one, samples=500, seed=1) for one in zip(made.first, made.lengths, strict=True)]
    assert 93 <= coverage(*np.array(ends).T, 0.2) <= 97


def test_thirty_sessions_of_fifteen_groups() -> None:
    """The smallest bootstrap, in the shape of the demo; differences between groups add to its width."""
    made = evaluations(RATES[15], 2, datasets=1000, spread=0.6)
    ends = [pooled_interval(*one, samples=500, seed=1) for one in zip(made.first, made.lengths, strict=True)]
    assert 93 <= coverage(*np.array(ends).T, RATES[15].mean()) <= 97


@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize(("groups", "sessions"), [(1, 7), (1, 29), (5, 2), (15, 2), (15, 7)])
def test_one_in_twenty_p_values_of_systems_alike_is_below_a_twentieth(
    groups: int, sessions: int, by_group: bool
) -> None:
    made = evaluations(RATES.get(groups, ONE), sessions, datasets=2000)
    # Alike in every session: which of the two is the first is chance.
    swapped = np.random.default_rng(SEED).integers(2, size=made.first.shape) * 2 - 1
    changes = (made.second - made.first) * swapped
    tokens = made.lengths @ (made.groups[:, None] == np.arange(groups))
    weights = 1 / tokens[:, made.groups] if by_group else 1.0
    rejected = randomisation_p_values(changes * weights, samples=1000, seed=3) <= 0.05
    assert 0.035 <= rejected.mean() <= 0.065


def test_what_is_printed_is_what_was_simulated() -> None:
    made = evaluations(RATES[15], 2, datasets=3)
    low, high = rate_interval(made.first, made.lengths, made.groups, 0.95)
    lower, upper = difference_interval(made.second - made.first, made.lengths, made.groups, 0.95)
    tokens = (made.groups[:, None] == np.arange(15)).T.astype(float)
    for place, (first, second, lengths) in enumerate(zip(made.first, made.second, made.lengths, strict=True)):
        assert group_mean_interval(first, lengths, made.groups) == pytest.approx((low[place], high[place]))
        (found,) = compare_systems(np.array([first, second]), lengths, made.groups, seed=3)
        assert (found.low, found.high) == pytest.approx((lower[place], upper[place]))
        changes = (second - first) / (tokens.T @ (15 * tokens @ lengths))
        assert found.difference == pytest.approx(changes.sum())
        assert found.p_value == randomisation_p_values(changes[None], seed=3)[0]
