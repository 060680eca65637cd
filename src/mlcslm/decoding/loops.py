"""Repetition loops: answers that repeat the same few tokens until they are truncated at the limit."""

from __future__ import annotations

from collections.abc import Sequence

LOOP_TOKENS = 24
"""Minimum length of a loop in tokens: a word said eight times in a row is speech."""
LOOP_COPIES = 4
"""Minimum number of repeats: a sentence said twice is speech, and reflections name the same error three times."""
LOOP_STEPS = 8
"""A running search checks for loops every so many tokens."""
LONGEST_UNIT = 48
"""Length in tokens of the longest repeating unit that is detected."""


def has_loop(ids: Sequence[int]) -> bool:
    """Whether anywhere in `ids` a unit occurs four or more times in a row, over 24 tokens or more.

    >>> has_loop([7, 1, 2, 3, 4, 5, 6] + [8, 9] * 12)
    True
    >>> has_loop([1, 2, 3] * 7)
    False
    """
    return any(_longest_repetition(ids, unit) >= _least(unit) for unit in _units(len(ids)))


def ends_in_loop(ids: Sequence[int]) -> bool:
    """Whether `ids` end in such a loop: what a running search checks."""
    return any(list(ids[-_least(unit) : -unit]) == list(ids[unit - _least(unit) :]) for unit in _units(len(ids)))


def _units(length: int) -> list[int]:
    return [unit for unit in range(1, LONGEST_UNIT + 1) if _least(unit) <= length]


def _least(unit: int) -> int:
    """Length in tokens of the shortest loop of a unit."""
    return max(LOOP_TOKENS, LOOP_COPIES * unit)


def _longest_repetition(ids: Sequence[int], unit: int) -> int:
    """Length of the longest stretch in which each token equals the one `unit` positions before; 0 if there is none."""
    longest = run = 0
    for before, token in zip(ids, ids[unit:], strict=False):
        run = run + 1 if before == token else 0
        longest = max(longest, run)
    return longest + unit if longest else 0
