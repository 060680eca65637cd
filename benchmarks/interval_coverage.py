"""How often the printed intervals cover the true rate, in simulated evaluations: docs/scoring.md has the table.

python benchmarks/interval_coverage.py [--evaluations 6000]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlcslm.scoring.intervals import has_interval, pooling_groups
from mlcslm.scoring.jackknife import difference_interval, rate_interval

SEED = 20261128
BETTER = 0.9
"""The second system's error rate, as a share of the first's."""


@dataclass(frozen=True)
class Design:
    """Groups of an evaluation: sessions, mean reference tokens of a session, and true error rate of each."""

    name: str
    sessions: np.ndarray
    tokens: np.ndarray
    rates: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """Each session's group: (sessions,)."""
        return np.repeat(np.arange(self.sessions.size), self.sessions)

    def truth(self, pooled: bool) -> float:
        """The first system's true rate, pooled or as the mean of groups."""
        expected = self.sessions * self.tokens
        return float((expected * self.rates).sum() / expected.sum() if pooled else self.rates.mean())


@dataclass(frozen=True)
class Spread:
    """What differs between sessions, as standard deviations relative to the mean.

    rates: of sessions' error rates, the same for all groups, or in every second one a third; lengths: of their tokens;
    heavy: lognormal rates, with a longer tail than the usual gamma distribution; scale: tokens are multiplied by it;
    outlier: a group, by place, with its own deviation of rates.
    """

    name: str
    rates: float
    lengths: float = 0.4
    heavy: bool = False
    unlike: bool = False
    scale: float = 1.0
    outlier: tuple[int, float] | None = None


SPREADS = (
    Spread("rates 25 %", 0.25),
    Spread("rates 60 %", 0.6),
    Spread("every other group a third of that", 0.6, unlike=True),
    Spread("few tokens", 0.4, scale=0.025),
)
HEAVY = Spread("rates 60 %, lognormal", 0.6, heavy=True)
# Thai of the dev set, five sessions with a third of all tokens, as one published system's rates differ there.
OUTLIERS = tuple(
    Spread(f"Thai 90 %, the others 35 %, {name}", 0.35, heavy=heavy, outlier=(13, 0.9))
    for name, heavy in (("gamma", False), ("lognormal", True))
)


def _even(groups: int, sessions: int, rates: Sequence[float] | None = None) -> Design:
    name = f"{groups} x {sessions}" if groups > 1 else str(sessions)
    of_group = np.linspace(0.08, 0.45, groups) if rates is None else np.array(rates)
    return Design(name, np.full(groups, sessions), np.full(groups, 2500.0), of_group)


# Sessions, tokens per session and rates of MLC-SLM's dev set, by the published baseline (Qwen) of Track 1.
DEV = Design(
    "dev set of MLC-SLM",
    np.array([9, 6, 9, 7, 6, 8, 7, 6, 11, 8, 10, 5, 5, 5, 8]),
    np.array([2540, 4548, 2736, 2535, 3451, 3007, 3217, 3340, 3841, 4622, 2337, 3289, 4530, 18937, 3533.0]),
    np.array([0.138, 0.112, 0.110, 0.081, 0.169, 0.257, 0.340, 0.235, 0.347, 0.208, 0.340, 0.183, 0.143, 0.217, 0.215]),
)
_UNEVEN = np.array([12, 9, 8, 8, 7, 7, 7, 6, 6, 6, 1, 1, 1, 1, 1])
DESIGNS = (
    *(_even(1, sessions, [0.2]) for sessions in (5, 8, 20, 30, 60, 110)),
    *(_even(2, sessions, [0.2, 0.3]) for sessions in (4, 7, 30)),
    *(_even(5, sessions, [0.1, 0.15, 0.2, 0.3, 0.4]) for sessions in (2, 3, 7)),
    *(_even(15, sessions) for sessions in (2, 3, 4, 7)),
    DEV,
    Design("2, 2, 30", np.array([2, 2, 30]), np.full(3, 2500.0), np.array([0.1, 0.2, 0.4])),
    Design("3, 3, 30", np.array([3, 3, 30]), np.full(3, 2500.0), np.array([0.1, 0.2, 0.4])),
    Design("3, 12", np.array([3, 12]), np.full(2, 2500.0), np.array([0.1, 0.4])),
    Design("5 of 15 alone", _UNEVEN, np.full(15, 2500.0), np.roll(np.linspace(0.08, 0.45, 15), 4)),
)
"""The demo has 4 sessions of 15 groups."""


def simulate(
    design: Design, spread: Spread, evaluations: int, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of two systems, and reference tokens: (evaluations, sessions) each.

    The second is a tenth better (`BETTER`). What makes a session hard is hard for both, but each has good and bad days
    of its own, a quarter of the rate.
    """
    rng = np.random.default_rng([seed, design.sessions.sum(), round(100 * spread.rates), round(100 * spread.lengths)])
    groups = design.groups
    shape = evaluations, groups.size
    deviation = np.where(spread.unlike & (groups % 2 == 1), spread.rates / 3, spread.rates)
    if spread.outlier is not None:
        deviation = np.where(groups == spread.outlier[0], spread.outlier[1], deviation)
    sigma = np.sqrt(np.log1p(spread.lengths**2))
    tokens = np.ceil(design.tokens[groups] * spread.scale * rng.lognormal(-(sigma**2) / 2, sigma, shape))
    if spread.heavy:
        sigma = np.sqrt(np.log1p(deviation**2))
        difficulty = rng.lognormal(-(sigma**2) / 2, sigma, shape)
    else:
        difficulty = rng.gamma(deviation**-2, deviation**2, shape)
    expected = tokens * design.rates[groups] * difficulty
    first, second = (rng.poisson(expected * better * rng.gamma(16, 1 / 16, shape)) for better in (1, BETTER))
    return first.astype(float), second.astype(float), tokens


def coverage(ends: tuple[np.ndarray, np.ndarray], truth: float) -> float:
    """Percent of the intervals that are there, and of these nearly all have to be, that cover the truth."""
    low, high = ends
    there = np.isfinite(low)
    if there.mean() < 0.9:
        raise AssertionError(f"only {there.mean():.0%} of the intervals exist")
    return 100 * float(np.mean((low[there] <= truth) & (truth <= high[there])))


def coverages(design: Design, spread: Spread, evaluations: int) -> Iterator[tuple[str, float]]:
    """Coverage, in percent, of each interval that is printed for a design."""
    first, second, tokens = simulate(design, spread, evaluations)
    groups, even = design.groups, np.ones(design.sessions.sum())
    strata = pooling_groups(even, groups)
    if strata is not None:
        ends = rate_interval(first, tokens, strata, 0.95, pooled=True)
        yield "pooled rate", coverage(ends, design.truth(True))
        ends = difference_interval(second - first, tokens, strata, 0.95, pooled=True)
        yield "its difference", coverage(ends, (BETTER - 1) * design.truth(True))
    if has_interval(even, groups) and design.sessions.size > 1:
        ends = rate_interval(first, tokens, groups, 0.95, pooled=False)
        yield "mean of groups", coverage(ends, design.truth(False))
        ends = difference_interval(second - first, tokens, groups, 0.95, pooled=False)
        yield "its difference, of means", coverage(ends, (BETTER - 1) * design.truth(False))


KINDS = ("pooled rate", "its difference", "mean of groups", "its difference, of means")


def table(
    evaluations: int,
    spreads: Sequence[Spread],
    designs: Sequence[Design] = DESIGNS,
    show: Callable[[str], None] = print,
) -> None:
    """Print lowest and highest coverage over `spreads`, by design, as Markdown."""
    show(f"| sessions | {' | '.join(KINDS)} |\n|---|{'---:|' * len(KINDS)}")
    for design in designs:
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for spread in spreads:
            for kind, percent in coverages(design, spread, evaluations):
                found[kind].append(percent)
        cells = (f"{min(all_):.1f} to {max(all_):.1f}" if all_ else "none" for all_ in found.values())
        show(f"| {design.name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=6000, help="per design and spread (default: %(default)s)")
    chosen = parser.parse_args()
    table(chosen.evaluations, SPREADS)
    print(f"\n{HEAVY.name}:\n")
    table(chosen.evaluations, [HEAVY])
    for outlier in OUTLIERS:
        print(f"\n{outlier.name}:\n")
        table(chosen.evaluations, [outlier], [DEV])


if __name__ == "__main__":
    main()
