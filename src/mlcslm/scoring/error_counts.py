"""Error counts that add up. The rate is computed once, at the end, so that nobody averages rates by accident."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorCounts:
    """Errors of one or many utterances against `length` reference tokens (words or characters).

    Raises ValueError for negative counts, and if errors is not insertions + deletions + substitutions.
    """

    errors: int
    length: int
    insertions: int
    deletions: int
    substitutions: int

    def __post_init__(self) -> None:
        if min(self.errors, self.length, self.insertions, self.deletions, self.substitutions) < 0:
            raise ValueError(f"negative count in {self}")
        if self.errors != self.insertions + self.deletions + self.substitutions:
            raise ValueError(f"errors is not insertions + deletions + substitutions in {self}")

    @classmethod
    def zero(cls) -> ErrorCounts:
        """Counts of nothing: the start of a sum."""
        return cls(0, 0, 0, 0, 0)

    @property
    def error_rate(self) -> float | None:
        """Errors per reference token, a fraction (insertions can push it above 1); None without tokens."""
        return self.errors / self.length if self.length else None

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        if not isinstance(other, ErrorCounts):
            return NotImplemented
        return ErrorCounts(
            self.errors + other.errors,
            self.length + other.length,
            self.insertions + other.insertions,
            self.deletions + other.deletions,
            self.substitutions + other.substitutions,
        )


def pool(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum of `counts`: its error rate is the pooled (micro-averaged) one, as the challenge reports.

    >>> pool([ErrorCounts(1, 1, 0, 0, 1), ErrorCounts(1, 9, 1, 0, 0)]).error_rate
    0.2
    """
    return sum(counts, ErrorCounts.zero())


RUN_ON_INSERTIONS = 50


@dataclass(frozen=True)
class RunOns:
    """Number of utterances that run on, their insertions, and the insertions of all utterances."""

    utterances: int
    insertions: int
    insertions_of_all: int

    @property
    def share(self) -> float:
        """Share of all insertions that are in run-ons, 0 to 1; 0 without insertions."""
        return self.insertions / self.insertions_of_all if self.insertions_of_all else 0.0


def count_run_ons(insertions: Iterable[int], threshold: int = RUN_ON_INSERTIONS) -> RunOns:
    """Count utterances with at least `threshold` insertions. insertions: one count per utterance.

    >>> count_run_ons([0, 3, 50, 47])
    RunOns(utterances=1, insertions=50, insertions_of_all=100)
    """
    counts = [int(count) for count in insertions]
    run_ons = [count for count in counts if count >= threshold]
    return RunOns(len(run_ons), sum(run_ons), sum(counts))
