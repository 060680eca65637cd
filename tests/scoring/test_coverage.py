"""Coverage of intervals and p-values in thousands of simulated evaluations with known true rates."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mlcslm.scoring.compare import compare_systems, randomisation_p_values
from mlcslm.scoring.intervals import group_mean_interval, pooled_interval
from mlcslm.scoring.jackknife import difference_interval, rate_interval

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def simulation() -> Iterator[Any]:
    """The benchmark that makes the table of docs/scoring.md."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("interval_coverage")
    sys.path.remove(str(BENCHMARKS))
    sys.modules.pop("interval_coverage")


def design(simulation: Any, groups: int, sessions: int) -> Any:
    name = f"{groups} x {sessions}" if groups > 1 else str(sessions)
    (found,) = (one for one in simulation.DESIGNS if one.name == name)
    return found


def test_intervals_cover_what_they_say(simulation: Any) -> None:
    """Few evaluations each: the standard error is half a point."""
    some = ["5", "20", "110", "5 x 2", "15 x 2", "15 x 4", "dev set of MLC-SLM", "2, 2, 30", "5 of 15 alone"]
    for one in simulation.DESIGNS:
        if one.name in some:
            found = dict(simulation.coverages(one, simulation.SPREADS[0], 2000))
            assert all(93 <= percent <= 97.5 for percent in found.values()), (one.name, found)


@pytest.mark.slow
def test_they_do_so_in_every_design(simulation: Any) -> None:
    """93 to 97 %, give or take one and a half standard errors of 0.45 points; docs/scoring.md has more evaluations."""
    kinds = set()
    for one in simulation.DESIGNS:
        for spread in (*simulation.SPREADS, simulation.HEAVY):
            for kind, percent in simulation.coverages(one, spread, 2500):
                kinds.add(kind)
                assert 92.3 <= percent <= 97.7, (one.name, spread.name, kind)
    assert kinds == set(simulation.KINDS)


def test_the_simulation_sees_an_interval_that_is_too_narrow(simulation: Any) -> None:
    """A percentile bootstrap of two sessions a group: 75 to 80 % of the intervals of their mean."""
    made = design(simulation, 15, 2)
    errors, _, tokens = simulation.simulate(made, simulation.SPREADS[1], 300)
    drawn = np.random.default_rng(1).integers(2, size=(200, 15, 2))
    sampled = np.array([
        (
            np.take_along_axis(errors.reshape(-1, 15, 2), one[None], axis=2).sum(2)
            / np.take_along_axis(tokens.reshape(-1, 15, 2), one[None], axis=2).sum(2)
        ).mean(1)
        for one in drawn
    ])  # fmt: skip
    low, high = np.quantile(sampled, [0.025, 0.975], axis=0)
    assert simulation.coverage((low, high), made.truth(False)) < 90


@pytest.mark.slow
@pytest.mark.parametrize("by_group", [False, True])
@pytest.mark.parametrize(("groups", "sessions"), [(1, 8), (1, 30), (5, 2), (15, 2), (15, 7)])
def test_one_in_twenty_p_values_of_systems_alike_is_below_a_twentieth(
    simulation: ModuleType, groups: int, sessions: int, by_group: bool
) -> None:
    made = design(simulation, groups, sessions)
    first, second, tokens = simulation.simulate(made, simulation.Spread("", 0.4), 2000)
    # Alike in every session: which of the two is the first is chance.
    swapped = np.random.default_rng(simulation.SEED).integers(2, size=first.shape) * 2 - 1
    of_group = tokens @ (made.groups[:, None] == np.arange(groups))
    weights = 1 / of_group[:, made.groups] if by_group else 1.0
    rejected = randomisation_p_values((second - first) * swapped * weights, samples=1000, seed=3) <= 0.05
    assert 0.035 <= rejected.mean() <= 0.065


def test_what_is_printed_is_what_was_simulated(simulation: Any) -> None:
    made = design(simulation, 15, 2)
    evaluations = simulation.simulate(made, simulation.SPREADS[1], 3)
    for pooled in (True, False):
        low, high = rate_interval(evaluations[0], evaluations[2], made.groups, 0.95, pooled=pooled)
        lower, upper = difference_interval(
            evaluations[1] - evaluations[0], evaluations[2], made.groups, 0.95, pooled=pooled
        )
        for place, (first, second, tokens) in enumerate(zip(*evaluations, strict=True)):
            printed = pooled_interval if pooled else group_mean_interval
            assert printed(first, tokens, made.groups) == pytest.approx((low[place], high[place]))
            (found,) = compare_systems(np.array([first, second]), tokens, made.groups, pooled=pooled, seed=3)
            assert (found.low, found.high) == pytest.approx((lower[place], upper[place]))
