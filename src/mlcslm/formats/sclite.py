"""Files of NIST's sclite: transcripts (`.trn`) and alignments, in the form of its `-o pralign`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from mlcslm.io.files import atomic_path

Aligned = Sequence[tuple[str, str]]
"""(reference, hypothesis) tokens of an utterance; "" where one side has nothing."""


def write_trn(path: str | os.PathLike[str], texts: Mapping[str, Iterable[str]]) -> None:
    """Write one line per utterance: its tokens, then its id in parentheses."""
    lines = (" ".join([*tokens, f"({name})"]) for name, tokens in texts.items())
    _write(Path(path), "".join(f"{line}\n" for line in lines))


def write_alignments(path: str | os.PathLike[str], system: str, utterances: Sequence[tuple[str, str, Aligned]]) -> None:
    """Write the alignment of every utterance, by speaker. utterances: speaker, id and aligned tokens of each.

    Errors are in capitals, as sclite writes them; a missing token is as many asterisks as the other has characters.
    """
    ordered = sorted(utterances, key=lambda one: one[0])
    speakers = [(speaker, list(spoken)) for speaker, spoken in groupby(ordered, key=lambda one: one[0])]
    lines = ["", "", "\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE", "", f"System name:   {system}", "", "Speakers: "]
    lines += [f"    {number}:   {speaker}" for number, (speaker, _) in enumerate(speakers)]
    for number, (speaker, spoken) in enumerate(speakers):
        lines += ["", f"Speaker sentences   {number}:  {speaker}   #utts: {len(spoken)}"]
        for _, name, aligned in spoken:
            lines += [f"id: ({name})", *alignment_lines(aligned), ""]
    _write(Path(path), "\n".join(lines) + "\n")


def alignment_lines(aligned: Aligned) -> list[str]:
    """The counts of an utterance, and reference, hypothesis and errors below each other.

    >>> aligned = [("the", "the"), ("tea", "sea"), ("", "is"), ("hot", "")]
    >>> print("\\n".join(alignment_lines(aligned)))  # doctest: +NORMALIZE_WHITESPACE
    Scores: (#C #S #D #I) 1 1 1 1
    REF:  the TEA ** HOT
    HYP:  the SEA IS ***
    Eval:     S   I  D
    """
    rows: list[tuple[str, str, str]] = []
    for meant, heard in aligned:
        if meant == heard:
            rows.append((meant, heard, ""))
        else:
            kind = "I" if not meant else "D" if not heard else "S"
            rows.append((meant.upper() or "*" * len(heard), heard.upper() or "*" * len(meant), kind))
    kinds = [kind for _, _, kind in rows]
    counts = " ".join(str(kinds.count(kind)) for kind in ("", "S", "D", "I"))
    widths = [max(map(len, row)) for row in rows]
    columns = (zip((row[side] for row in rows), widths, strict=True) for side in range(3))
    padded = ["".join(f"{text:{width}} " for text, width in column) for column in columns]
    return [
        f"Scores: (#C #S #D #I) {counts}",
        *(f"{title:5} {text}" for title, text in zip(("REF:", "HYP:", "Eval:"), padded, strict=True)),
    ]


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
