"""The groups of a corpus, one row of `config/languages.tsv` each."""

from __future__ import annotations

import collections
import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlcslm.errors import UserError
from mlcslm.io.reading import read_input

COLUMNS = ("group", "folder", "language", "token", "unit", "prompt")


@dataclass(frozen=True)
class Group:
    """One language (or accent) of a corpus.

    group: its name in ids and tables; folder: its sessions' folder below a split; language: ISO 639-1 code;
    token: its language token; unit: what its error rate counts; prompt: "Transcribe the speech above" in its language.
    """

    group: str
    folder: str
    language: str
    token: str
    unit: Literal["word", "character"]
    prompt: str

    @property
    def recording_prefix(self) -> str:
        """First part of a Track 2 recording's name: the accent, or the language if there is none."""
        return self.folder.rsplit("/", 1)[-1]


def read_languages(path: str | os.PathLike[str]) -> dict[str, Group]:
    """Read a languages table; return its groups by name, in file order. Raises UserError naming the line at fault."""
    path = Path(path)
    content = read_input(path, f"the languages table, tab-separated: {', '.join(COLUMNS)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); save it as UTF-8.") from None
    groups: dict[str, Group] = {}
    rows = csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    header = tuple(next(rows, ()))
    if header != COLUMNS:
        raise UserError(f"{path}:1: found columns {list(header)}, expected {list(COLUMNS)} separated by tabs.")
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise UserError(f"{path}:{number}: found {len(row)} columns, expected {len(COLUMNS)}.")
        group = Group(*row)  # type: ignore[arg-type]
        if group.unit not in ("word", "character"):
            raise UserError(f"{path}:{number}: unit is {group.unit!r}, expected 'word' or 'character'.")
        if group.group in groups:
            raise UserError(f"{path}:{number}: group {group.group!r} is listed twice; remove one line.")
        groups[group.group] = group
    if not groups:
        raise UserError(f"{path}: no groups; expected one per line below the column names.")
    return groups


def group_shares(groups: dict[str, Group]) -> dict[str, float]:
    """Share of the training data for each group, summing to 1: a language's grows with the square root of its groups.

    A compromise between equal groups (English, with five accents, would be a third of the demo) and equal languages.

    >>> english = {name: Group(name, "", "en", "", "word", "") for name in ("A", "B", "C", "D")}
    >>> group_shares(english | {"German": Group("German", "", "de", "", "word", "")})["German"]
    0.3333333333333333
    """
    sizes = collections.Counter(group.language for group in groups.values())
    weights = {name: 1 / math.sqrt(sizes[group.language]) for name, group in groups.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def group_of_utterance(utterance_id: str, groups: dict[str, Group]) -> str:
    """Group of an official utterance id, `<Language>[-<Accent>]-<session>-…`: the longest group that is its prefix.

    >>> english = Group("English-American", "English/American", "en", "<LANG_EN>", "word", "")
    >>> group_of_utterance("English-American-0517_007-O1-000182-000276", {"English-American": english})
    'English-American'
    """
    for group in sorted(groups, key=len, reverse=True):
        if utterance_id.startswith(f"{group}-"):
            return group
    raise UserError(
        f"{utterance_id}: the id begins with no group of the languages table; expected one of {', '.join(groups)}."
    )
