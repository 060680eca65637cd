"""CTM: which word is said when. `<recording> <channel> <start> <duration> <word> [confidence [type [speaker]]]`.

NIST's format: SCTK's infmts.htm defines the first six fields, its ctmValidator type and speaker.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.parsing import (
    check_interval,
    counted,
    end_time,
    name_fault,
    parse_seconds,
    raise_faults,
    read_lines,
    rendered,
    split_fields,
)
from mlcslm.formats.segments import Utterance

WORD_TYPES = frozenset(("lex", "for-lex", "un-lex"))
OTHER_TYPES = frozenset(("fp", "frag", "non-lex", "misc", "noscore"))
"""Filled pauses, fragments, noises and the like, which do not count as words. (SCTK's hubscr scores `lex` only.)"""
UNKNOWN = frozenset(("na", "<na>", "-"))
"""Placeholders for an unknown field."""
FIELDS = (5, 6, 7, 8)

_FORMAT = "a CTM file, `<recording> <channel> <start> <duration> <word>` per line"


@dataclass(frozen=True)
class Ctm:
    """Content of a CTM file.

    words: each an utterance of its own, since its times are exact; ignored: number of other tokens by type; by_channel:
    recordings whose only channel stands for the speaker, as no line names one.
    """

    words: list[Utterance] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    by_channel: dict[str, set[str]] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Notes on ignored tokens, and on recordings in which everybody counts as one speaker."""
        notes = []
        if self.ignored:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.ignored.items()))
            notes.append(f"ignored {counted(self.ignored.total(), 'token')} of other types than words: {counts}")
        if alone := sum(len(channels) == 1 for channels in self.by_channel.values()):
            notes.append(
                f"names no speaker in {counted(alone, 'recording')}, whose only channel counts as one: tcpWER and DER "
                "need the speaker as the eighth field"
            )
        return notes


def read_ctm(path: str | os.PathLike[str]) -> Ctm:
    """Words in file order. Fields are separated by tabs if that gives a valid number of them, otherwise by spaces.

    The speaker is the eighth field if there is one, otherwise the channel, as in recordings with one speaker per
    channel. Raises UserError if the file does not exist, FaultyInput listing every faulty line: a number of fields
    outside 5 to 8, a start or duration that is negative or not a time, a confidence that is not a number, an unknown
    type, alternatives, bytes that are not UTF-8.
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
    """Add the fields of a line to `found`, or return what is wrong with them."""
    if len(fields) not in FIELDS:
        return f"found {len(fields)} fields, expected 5 to 8, the fifth being the word"
    recording, channel, *times, word = fields[:5]
    if word.upper().startswith("<ALT"):
        return f"found {rendered(word)}; alternatives are not supported: keep the intended one"
    start, duration = map(parse_seconds, times)
    interval = check_interval(start, end_time(start, duration), (times[0], f"{times[0]} + {times[1]}"))
    if isinstance(interval, str):
        return interval
    if len(fields) > 5 and parse_seconds(fields[5]) is None and fields[5].lower() not in UNKNOWN:
        return f"found the confidence {rendered(fields[5])}, expected a number or NA (and one word per line)"
    kind = fields[6].lower() if len(fields) > 6 and fields[6].lower() not in UNKNOWN else "lex"
    if kind not in WORD_TYPES | OTHER_TYPES:
        return f"found the type {rendered(fields[6])}, expected one of {', '.join(sorted(WORD_TYPES | OTHER_TYPES))}"
    speaker = fields[7] if len(fields) > 7 and fields[7].lower() not in UNKNOWN else channel
    if fault := name_fault("recording", recording) or name_fault("speaker", speaker):
        return fault
    if kind in OTHER_TYPES:
        found.ignored[kind] += 1
    else:
        found.words.append(Utterance(recording, speaker, *interval, word))
        if len(fields) < 8:
            found.by_channel.setdefault(recording, set()).add(channel)
    return None
