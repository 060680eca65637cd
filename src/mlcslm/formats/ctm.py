"""CTM: which word is said when. `<recording> <channel> <start> <duration> <word> [confidence [type speaker]]`."""

from __future__ import annotations

import os
from pathlib import Path

from mlcslm.formats.segments import Utterance
from mlcslm.formats.timed_lines import interval_fault, parse_seconds, raise_faults, read_lines

_EXPECTED = "a CTM file, `<recording> <channel> <start> <duration> <word>` a line"


def read_ctm(path: str | os.PathLike[str]) -> list[Utterance]:
    """Words in the order of the file, each an utterance of its own: their times are exact.

    The speaker is the eighth field where a line has one (NIST's RT evaluations), or else the channel, as in recordings
    with a speaker a channel. Raises UserError where there is no file, FaultyInput listing every faulty line: fewer than
    five fields, a start or duration that is not a time or is negative, alternatives, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, _EXPECTED)
    words = []
    for number, line in lines:
        fields = line.split()
        if len(fields) < 5:
            faults.append(f"{path}:{number}: found {len(fields)} fields, expected 5 or more, the word being the fifth")
            continue
        recording, channel, *times, word = fields[:5]
        if word.startswith("<ALT"):
            faults.append(f"{path}:{number}: found {word}; of alternatives, give the one that is meant")
            continue
        start, duration = map(parse_seconds, times)
        # The sum of two decimal numbers as a decimal number: floating point would give 0.30000000000000004.
        end = None if start is None or duration is None else round(start + duration, 9)
        if fault := interval_fault(start, end, (times[0], f"{times[0]} + {times[1]}")):
            faults.append(f"{path}:{number}: {fault}")
            continue
        speaker = fields[7] if len(fields) > 7 else channel
        words.append(Utterance(recording, speaker, start, end, word))  # type: ignore[arg-type]
    raise_faults(path, faults)
    return words
