"""Errors for the person at the terminal: what is wrong, where, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """A mistake in the user's input (a path, a file, a config key); printed without a traceback, exit status 1.

    The message names the file (and line) at fault, what was found, what was expected and what to do.
    """


def shortened(faults: Sequence[str], limit: int = 10) -> list[str]:
    """The first `limit` of `faults`, and a line that counts the rest.

    >>> shortened(["a", "b", "c"], limit=2)
    ['a', 'b', '… and 1 more']
    """
    return [*faults[:limit], *([f"… and {len(faults) - limit} more"] if len(faults) > limit else [])]


class FaultyInput(UserError):
    """Several faults of one input, reported together, one per line."""

    def __init__(self, title: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join([title, *(f"  {fault}" for fault in self.faults)]))
