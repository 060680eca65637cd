"""CTM: which word is said when. `<recording> <channel> <start> <duration> <word> [confidence [type [speaker]]]`.

The format is that of NIST's SCTK (infmts), types and speakers those of its Rich Transcription evaluations.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.segments import Utterance
from mlcslm.formats.timed_lines import (
    counted,
    interval_fault,
    name_fault,
    parse_seconds,
    raise_faults,
    read_lines,
    rendered,
    split_fields,
)

WORD_TYPES = frozenset(("lex", "for-lex", "un-lex"))
OTHER_TYPES = frozenset(("fp", "frag", "non-lex", "misc", "noscore"))
"""Filled pauses, fragments, noises and the like: no words, as NIST's evaluations score them."""
UNKNOWN = frozenset(("na", "<na>", "-"))
"""What stands for a field that is not known."""
FIELDS = (5, 6, 7, 8)

_FORMAT = "a CTM file, `<recording> <channel> <start> <duration> <word>` a line"


@dataclass(frozen=True)
class Ctm:
    """What a CTM file holds: words, each an utterance of its own, as its times are exact; others counted by type."""

    words: list[Utterance] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """What to tell of what is left out."""
        if not self.ignored:
            return []
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.ignored.items()))
        return [f"left out {counted(self.ignored.total(), 'token')} that count as no word: {counts}"]


def read_ctm(path: str | os.PathLike[str]) -> Ctm:
    """Words in the order of the file. Fields lie between tabs where a line has as many of them, or else between spaces.

    The speaker is the eighth field where a line has one (NIST's RT evaluations), or else the channel, as in recordings
    with a speaker a channel. Raises UserError where there is no file, FaultyInput listing every faulty line: other than
    five to eight fields, a start or duration that is not a time or is negative, a confidence that is no number, a type
    that CTM does not have, alternatives, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, _FORMAT)
    found = Ctm()
    for number, line in lines:
        if fault := _add_line(found, split_fields(line, FIELDS)):
            faults.append(f"{path}:{number}: {fault}")
    raise_faults(path, faults)
    return found


def _add_line(found: Ctm, fields: list[str]) -> str | None:
    """Take the fields of a line into `found`, or tell what is wrong with them."""
    if len(fields) not in FIELDS:
        return f"found {len(fields)} fields, expected 5 to 8, the word being the fifth"
    recording, channel, *times, word = fields[:5]
    if word.upper().startswith("<ALT"):
        return f"found {rendered(word)}; alternatives are not supported: give the one that is meant"
    start, duration = map(parse_seconds, times)
    # The sum of two decimal numbers as a decimal number: floating point would give 0.30000000000000004.
    end = None if start is None or duration is None else round(start + duration, 9)
    if fault := interval_fault(start, end, (times[0], f"{times[0]} + {times[1]}")):
        return fault
    if len(fields) > 5 and parse_seconds(fields[5]) is None and fields[5].lower() not in UNKNOWN:
        return f"found the confidence {rendered(fields[5])}, expected a number or NA; one word a line"
    kind = fields[6].lower() if len(fields) > 6 and fields[6].lower() not in UNKNOWN else "lex"
    if kind not in WORD_TYPES | OTHER_TYPES:
        return f"found the type {rendered(fields[6])}, expected one of {', '.join(sorted(WORD_TYPES | OTHER_TYPES))}"
    speaker = fields[7] if len(fields) > 7 and fields[7].lower() not in UNKNOWN else channel
    if fault := name_fault("recording", recording) or name_fault("speaker", speaker):
        return fault
    if kind in OTHER_TYPES:
        found.ignored[kind] += 1
    else:
        found.words.append(Utterance(recording, speaker, start, end, word))  # type: ignore[arg-type]
    return None
