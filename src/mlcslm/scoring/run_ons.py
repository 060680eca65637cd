"""Run-on hypotheses: the few utterances that a model goes on talking after, and which can dominate its error rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

RUN_ON_INSERTIONS = 50


@dataclass(frozen=True)
class RunOns:
    """How many utterances run on, the insertions they hold, and the insertions of all utterances."""

    utterances: int
    insertions: int
    insertions_of_all: int

    @property
    def share(self) -> float:
        """Share of all insertions that run-ons hold, 0 to 1; 0 where nothing is inserted."""
        return self.insertions / self.insertions_of_all if self.insertions_of_all else 0.0


def count_run_ons(insertions: Iterable[int], threshold: int = RUN_ON_INSERTIONS) -> RunOns:
    """Count utterances with at least `threshold` insertions. insertions: one count an utterance.

    >>> count_run_ons([0, 3, 50, 47])
    RunOns(utterances=1, insertions=50, insertions_of_all=100)
    """
    counts = [int(count) for count in insertions]
    run_ons = [count for count in counts if count >= threshold]
    return RunOns(len(run_ons), sum(run_ons), sum(counts))
