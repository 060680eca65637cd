"""STM: who says what when. `<recording> 1 <speaker> <start> <end> <text>`, in seconds: what Track 2 is handed in as."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mlcslm.formats.segments import Utterance
from mlcslm.formats.timed_lines import check_written, interval_fault, parse_seconds, raise_faults, read_lines
from mlcslm.io.files import atomic_path


def read_stm(path: str | os.PathLike[str]) -> list[Utterance]:
    """Utterances in the order of the file. They may overlap, a speaker's own too, and their text may be empty.

    All behind the fifth field is text, a `<label>` too. Raises UserError where there is no file, FaultyInput listing
    every faulty line: fewer than five fields, times that are none, an end before the start, bytes that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, "an STM file, `<recording> 1 <speaker> <start> <end> <text>` a line")
    utterances = []
    for number, line in lines:
        recording, *fields = line.split(maxsplit=5)
        if len(fields) < 4:
            faults.append(f"{path}:{number}: found {len(fields) + 1} fields, expected 5 and a text, maybe empty")
            continue
        _, speaker, *times = fields[:4]
        start, end = map(parse_seconds, times)
        if fault := interval_fault(start, end, (times[0], times[1])):
            faults.append(f"{path}:{number}: {fault}")
            continue
        utterances.append(Utterance(recording, speaker, start, end, "".join(fields[4:])))  # type: ignore[arg-type]
    raise_faults(path, faults)
    return utterances


def write_stm(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write utterances in the order given; times in full, so that reading gives them back, white space collapsed.

    Raises ValueError for names that are empty or hold white space and for utterances that end before they start.
    """
    path = Path(path)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for utterance in utterances:
            check_written(path, (utterance.recording, utterance.speaker), utterance.start, utterance.end)
            times = f"{float(utterance.start)!r} {float(utterance.end)!r}"
            words = " ".join([f"{utterance.recording} 1 {utterance.speaker} {times}", *utterance.text.split()])
            file.write(f"{words}\n")
