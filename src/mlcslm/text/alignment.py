"""Which units (words or characters) a hypothesis gets wrong, misses or adds."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import kaldialign

Kind = Literal["substitution", "deletion", "insertion"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# Stands for "no unit" in alignments; units are never empty.
_NOTHING = ""


@dataclass(frozen=True)
class Edit:
    """One error. heard: the hypothesis's unit, "" in a deletion; meant: the reference's, "" in an insertion."""

    kind: Kind
    heard: str
    meant: str


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Edit]:
    """Errors of `hypothesis` in the order of the utterance.

    Their number is the Levenshtein distance, and their kinds are those of kaldialign's alignment, as in the error
    counts of `mlcslm.scoring.wer`. Among adjacent errors, alignments differ only in what is paired with what:
    kaldialign pairs in order, this pairs what looks most alike. Raises ValueError for empty units.

    >>> for edit in align("they have made tea".split(), "they mate some tea".split()):
    ...     print(edit)
    Edit(kind='substitution', heard='mate', meant='have')
    Edit(kind='substitution', heard='some', meant='made')
    >>> align("they have made tea".split(), "they mate tea".split())
    [Edit(kind='deletion', heard='', meant='have'), Edit(kind='substitution', heard='mate', meant='made')]
    """
    return [
        Edit(_kind(heard, meant), heard, meant) for meant, heard in pair_units(reference, hypothesis) if meant != heard
    ]


def pair_units(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[str, str]]:
    """The whole alignment as (meant, heard) pairs, in the order of the utterance; "" if one side has nothing.

    Pairs that differ are the errors that `align` gives. Raises ValueError for empty units.

    >>> pair_units("they have made tea".split(), "they mate tea".split())
    [('they', 'they'), ('have', ''), ('made', 'mate'), ('tea', 'tea')]
    """
    if _NOTHING in reference or _NOTHING in hypothesis:
        raise ValueError("empty unit in the reference or the hypothesis; split the text with `units`")
    pairs = kaldialign.align(list(reference), list(hypothesis), _NOTHING)
    paired: list[tuple[str, str]] = []
    for wrong, group in itertools.groupby(pairs, key=lambda pair: pair[0] != pair[1]):
        run = list(group)
        paired.extend(_pair_alike(run) if wrong else run)
    return paired


def count_matches(named: Iterable[Edit], true: Iterable[Edit]) -> int:
    """How many of the `named` errors are among the `true` ones; a true error counts once.

    >>> extra = Edit("insertion", "um", "")
    >>> count_matches([extra, extra], [extra, Edit("deletion", "", "um")])
    1
    """
    return (Counter(named) & Counter(true)).total()


def _pair_alike(run: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Adjacent errors as (meant, heard) pairs; likeness decides which units have no partner."""
    meant = [unit for unit, _ in run if unit != _NOTHING]
    heard = [unit for _, unit in run if unit != _NOTHING]
    if len(meant) >= len(heard):
        return zip(meant, _spread(heard, meant), strict=True)
    return zip(_spread(meant, heard), heard, strict=True)


def _spread(few: Sequence[str], many: Sequence[str]) -> list[str]:
    """`few` in order, with gaps, as long as `many` and as similar to it as possible, unit by unit."""
    if len(few) == len(many):
        return list(few)
    # best[j]: likeness and positions of the first i of `few` among the first j of `many`.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (len(many) + 1)
    for i, unit in enumerate(few):
        longer: list[tuple[float, tuple[int, ...]]] = [(-1.0, ())] * (i + 1)
        for j in range(i, len(many)):
            placed = (best[j][0] + _likeness(unit, many[j]), (*best[j][1], j))
            longer.append(max(longer[-1], placed, key=lambda option: option[0]))
        best = longer
    spread = [_NOTHING] * len(many)
    for unit, position in zip(few, best[-1][1], strict=True):
        spread[position] = unit
    return spread


def _likeness(one: str, other: str) -> float:
    """1 minus the edits between two units per character of the longer one."""
    return 1 - kaldialign.edit_distance(one, other)["total"] / max(len(one), len(other))


def _kind(heard: str, meant: str) -> Kind:
    if heard == _NOTHING:
        return "deletion"
    return "insertion" if meant == _NOTHING else "substitution"
