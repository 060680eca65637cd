"""Repetition loops: answers in which the same few tokens come again and again, until the limit cuts them."""

from __future__ import annotations

from collections.abc import Sequence

LOOP_TOKENS = 24
"""A loop has at least so many tokens: a word said eight times in a row is speech."""
LOOP_COPIES = 4
"""A loop has at least so many copies of what it repeats: a sentence said twice is speech, and reflections name the same
error thrice."""
LOOP_STEPS = 8
"""A search under way looks for loops once in so many tokens."""
LONGEST_UNIT = 48
"""Tokens of the longest unit that is looked for."""


def has_loop(ids: Sequence[int]) -> bool:
    """Whether somewhere in `ids` a unit is repeated in a row, four times or more over 24 tokens or more.

    >>> has_loop([7, 1, 2, 3, 4, 5, 6] + [8, 9] * 12)
    True
    >>> has_loop([1, 2, 3] * 7)
    False
    """
    return any(_longest_repetition(ids, unit) >= _least(unit) for unit in _units(len(ids)))


def ends_in_loop(ids: Sequence[int]) -> bool:
    """Whether `ids` end in such a loop: what a search under way asks."""
    return any(list(ids[-_least(unit) : -unit]) == list(ids[unit - _least(unit) :]) for unit in _units(len(ids)))


def _units(length: int) -> list[int]:
    return [unit for unit in range(1, LONGEST_UNIT + 1) if _least(unit) <= length]


def _least(unit: int) -> int:
    """Tokens of the shortest loop of a unit."""
    return max(LOOP_TOKENS, LOOP_COPIES * unit)


def _longest_repetition(ids: Sequence[int], unit: int) -> int:
    """Length of the longest stretch in which each token is the one `unit` places before; 0 where none is."""
    longest = run = 0
    for before, token in zip(ids, ids[unit:], strict=False):
        run = run + 1 if before == token else 0
        longest = max(longest, run)
    return longest + unit if longest else 0
