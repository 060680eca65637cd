r"""The chain of thought: what was heard, and what may be wrong with it (paper, section 3.4).

A reflection is one sentence with single spaces:

    REFLECTION = "The speech sounds like: " HYPOTHESIS ", but it might have some " DETAILS ", let me correct it."
    DETAILS    = "errors: none" | SECTION {"; " SECTION}          each kind at most once
    SECTION    = "substitution: " PAIR {", " PAIR} [", ..."]
               | ("deletion" | "insertion") ": " UNIT {", " UNIT} [", ..."]
    PAIR       = HEARD " -> " MEANT                               both are UNITs

An insertion's unit is one that was heard, a deletion's one that was meant. `...` means that more errors of this kind
were left out. A UNIT is a word, or a character where `mlcslm-2025` counts characters; in it, `,` `;` and `\` are
escaped with a backslash, and so is a unit that is `...`. Nothing in HYPOTHESIS is escaped: DETAILS cannot contain
", but it might have some ", so the last one in the sentence is the frame's. Every unit follows a space, as in running
text, so that most tokenizers give it the same tokens as in the hypothesis.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from mlcslm.text.alignment import KINDS, Edit, Kind, align
from mlcslm.text.protocols import Unit, normalise_reference, split_units
from mlcslm.text.templates import plain_text

BEGINNING, MIDDLE, END = "The speech sounds like: ", ", but it might have some ", ", let me correct it."
NO_ERRORS = "errors: none"
MORE = "..."
FRAME = (f" {BEGINNING.rstrip()}", MIDDLE.rstrip(), *(f" {kind}:" for kind in KINDS), f" {NO_ERRORS}", " ->", END)
"""The pieces that reflections share: a tokenizer that knows them as tokens writes an answer without errors in five."""

_UNIT = r"(?:[^\s,;\\]|\\\S)+"
_ITEM = re.compile(rf"({_UNIT})(?: -> ({_UNIT}))?")
_SECTION = re.compile(rf"({'|'.join(KINDS)}): ({_ITEM.pattern}(?:, {_ITEM.pattern})*)(?:; (?=.)|\Z)")
_ESCAPED = re.compile(r"[,;\\]")
_UNESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Reflection:
    """A reflection's content. edits: the errors it names, in order; truncated: whether it says that it omits some."""

    hypothesis: str
    edits: tuple[Edit, ...]
    truncated: bool = False

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds of the errors it names."""
        return frozenset(edit.kind for edit in self.edits)


def units(text: str, unit: Unit) -> list[str]:
    """Units of `text` as `mlcslm-2025` counts errors: words, or characters with Latin and digit runs left whole.

    The text is used as is: normalise references first, but not hypotheses.

    >>> units("ça va", "word"), units("dvdを2枚", "character")
    (['ça', 'va'], ['dvd', 'を', '2', '枚'])
    """
    return split_units(text, unit)


def write_reflection(hypothesis: str, reference: str, unit: Unit, *, longest: int) -> str:
    """The reflection on `hypothesis`: all its errors, or the first `longest` of each kind.

    hypothesis: a transcript, whose tags and placeholders are dropped; reference: raw or normalised, with the same
    result. If the hypothesis has errors, at least one is named. Raises ValueError for `longest` below 1.

    >>> write_reflection("an tea", "A big tea.", "word", longest=6)
    'The speech sounds like: an tea, but it might have some substitution: an -> a; deletion: big, let me correct it.'
    >>> write_reflection("ça va", "Ça va ?", "word", longest=6)
    'The speech sounds like: ça va, but it might have some errors: none, let me correct it.'
    """
    if longest < 1:
        raise ValueError(f"longest={longest}: found less than 1, but at least one error must be named")
    hypothesis = plain_text(hypothesis)
    edits = align(units(normalise_reference(reference), unit), units(hypothesis, unit))
    return f"{BEGINNING}{hypothesis}{MIDDLE}{_write_details(edits, longest)}{END}"


def parse_reflection(think: str) -> Reflection | None:
    """Read a reflection back; None if `think` is not one.

    >>> parse_reflection("The speech sounds like: oh, but it might have some insertion: oh, let me correct it.")
    Reflection(hypothesis='oh', edits=(Edit(kind='insertion', heard='oh', meant=''),), truncated=False)
    >>> parse_reflection("The speech sounds like: oh, but it might be wrong.") is None
    True
    """
    if not (think.startswith(BEGINNING) and think.endswith(END)):
        return None
    hypothesis, middle, details = think.removeprefix(BEGINNING).removesuffix(END).rpartition(MIDDLE)
    named = _parse_details(details) if middle else None
    return None if named is None else Reflection(hypothesis, *named)


def join_reflections(reflections: Sequence[Reflection]) -> str:
    """The reflection of an utterance that was decoded in pieces: their hypotheses, and all the errors they name.

    >>> one = parse_reflection("The speech sounds like: oh, but it might have some insertion: oh, let me correct it.")
    >>> join_reflections([one, one])
    'The speech sounds like: oh oh, but it might have some insertion: oh, oh, let me correct it.'
    """
    edits = [edit for reflection in reflections for edit in reflection.edits]
    hypothesis = " ".join(reflection.hypothesis for reflection in reflections if reflection.hypothesis)
    return f"{BEGINNING}{hypothesis}{MIDDLE}{_write_details(edits, max(1, len(edits)))}{END}"


def _write_details(edits: Sequence[Edit], longest: int) -> str:
    sections = []
    for kind in KINDS:
        items = [_write_item(edit) for edit in edits if edit.kind == kind]
        if len(items) > longest:
            items[longest:] = [MORE]
        if items:
            sections.append(f"{kind}: {', '.join(items)}")
    return "; ".join(sections) or NO_ERRORS


def _write_item(edit: Edit) -> str:
    return " -> ".join(_escape(unit) for unit in (edit.heard, edit.meant) if unit)


def _escape(unit: str) -> str:
    return rf"\{MORE}" if unit == MORE else _ESCAPED.sub(r"\\\g<0>", unit)


def _parse_details(details: str) -> tuple[tuple[Edit, ...], bool] | None:
    if details == NO_ERRORS:
        return (), False
    edits: list[Edit] = []
    kinds: list[str] = []
    truncated, position = False, 0
    while position < len(details) or not kinds:
        section = _SECTION.match(details, position)
        if section is None or section[1] in kinds:
            return None
        kind = cast(Kind, section[1])
        kinds.append(kind)
        position = section.end()
        items = _ITEM.findall(section[2])
        if len(items) > 1 and items[-1] == (MORE, ""):
            items.pop()
            truncated = True
        for item in items:
            edit = _parse_item(kind, *item)
            if edit is None:
                return None
            edits.append(edit)
    return tuple(edits), truncated


def _parse_item(kind: Kind, first: str, second: str) -> Edit | None:
    if (kind == "substitution") != (second != "") or MORE in (first, second):
        return None
    first, second = _UNESCAPED.sub(r"\1", first), _UNESCAPED.sub(r"\1", second)
    return Edit(kind, "", first) if kind == "deletion" else Edit(kind, first, second)
