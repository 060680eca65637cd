"""STM: who says what when. `<recording> 1 <speaker> <start> <end> [<label>] <text>`, in seconds: Track 2's submission.

The format is NIST's (SCTK, infmts). Files of the workflow's own are plain: all behind the fifth field is text.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.segments import Utterance
from mlcslm.formats.timed_lines import (
    check_written,
    counted,
    interval_fault,
    name_fault,
    parse_seconds,
    raise_faults,
    read_lines,
    rendered,
)
from mlcslm.formats.zones import Zone
from mlcslm.io.files import atomic_path

IGNORED_TEXT = "ignore_time_segment_in_scoring"
GAP_SPEAKERS = frozenset(("inter_segment_gap", "excluded_region"))
"""Who "speaks" what is not scored in NIST's own files; the text is IGNORED_TEXT there."""

_FORMAT = "an STM file, `<recording> 1 <speaker> <start> <end> <text>` a line"
_LABEL = re.compile(r"<[^<>\s]*,[^<>\s]*>|<na>", re.IGNORECASE)
_DECLARED = re.compile(r';;\s*LABEL\s+"([^"]*)"', re.IGNORECASE)
_TAG = re.compile(r"<[^<>\s]+>")
_ALTERNATION = re.compile(r"\{[^{}]*\s/\s[^{}]*\}")
_DECIMAL = re.compile(r"\d+\.\d+", re.ASCII)


@dataclass(frozen=True)
class Stm:
    """What an STM file holds, in the order of the file.

    unscored: stretches of each recording that are marked as such; labels: how many texts had one, which is left out;
    tags: how often texts begin with what looks like a label and is not taken for one, by tag.
    """

    utterances: list[Utterance] = field(default_factory=list)
    unscored: dict[str, list[Zone]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)

    def notes(self, *, zones_used: bool) -> list[str]:
        """What to tell of what is left out. zones_used: whether unscored stretches are left out of scoring."""
        notes = []
        if zones := [zone for of_recording in self.unscored.values() for zone in of_recording]:
            seconds = sum(end - start for start, end in zones)
            notes.append(
                f"{counted(len(zones), 'stretch')} marked IGNORE_TIME_SEGMENT_IN_SCORING ({seconds:,.2f} s) not scored"
                if zones_used
                else f"{counted(len(zones), 'line')} marked IGNORE_TIME_SEGMENT_IN_SCORING left out; what is not "
                "scored is the reference's to name"
            )
        if self.labels:
            notes.append(f"left out {counted(self.labels.total(), 'label')} such as {next(iter(self.labels))}")
        if self.tags:
            examples = ", ".join(list(self.tags)[:3])
            notes.append(
                f"{counted(self.tags.total(), 'text')} with {examples} at the start, scored as a word: a label has a "
                "comma (`<o,f0,male>`) or is declared by a `;; LABEL` line"
            )
        return notes


def read_nist_stm(path: str | os.PathLike[str]) -> Stm:
    """What somebody's STM file says, as NIST's sclite reads it.

    A label behind the times is no text: `<o,f0,male>`, `<NA>`, or one that a `;; LABEL` line declares. A line with the
    text IGNORE_TIME_SEGMENT_IN_SCORING marks a stretch that is not scored. Fields lie between tabs where a line's first
    five do, so that a name may hold a space. Raises UserError where there is no file, FaultyInput listing every faulty
    line: as `read_stm`, and alternatives (`{a / b}`), and names that were cut in two at a space.
    """
    path = Path(path)
    lines, faults = read_lines(path, _FORMAT, comments=False)
    declared = {f"<{match[1].lower()}>" for _, line in lines if (match := _DECLARED.match(line))}
    found = Stm()
    cut: dict[str, list[int]] = {}
    for number, line in lines:
        if line.startswith(";;"):
            continue
        fields = _split(line)
        utterance = _parse(fields)
        if isinstance(utterance, str):
            faults.append(f"{path}:{number}: {utterance}")
            continue
        text = _without_label(utterance.text, declared, found)
        if text.lower() == IGNORED_TEXT or (utterance.speaker.lower() in GAP_SPEAKERS and not text):
            found.unscored.setdefault(utterance.recording, []).append((utterance.start, utterance.end))
            continue
        if alternation := _ALTERNATION.search(text):
            faults.append(
                f"{path}:{number}: found the alternatives {rendered(alternation[0])}, which sclite chooses from; "
                "not supported: write the one that was said"
            )
            continue
        if _looks_cut(fields):
            cut.setdefault(utterance.speaker, []).append(number)
        found.utterances.append(Utterance(utterance.recording, utterance.speaker, utterance.start, utterance.end, text))
    lines_of = Counter(utterance.speaker for utterance in found.utterances)
    for speaker, numbers in cut.items():
        if len(numbers) == lines_of[speaker]:
            faults += [
                f"{path}:{number}: found three numbers after the speaker {rendered(speaker)}, expected start and end; "
                "a name with a space in it? Write `_`, or tabs between the fields"
                for number in numbers
            ]
    raise_faults(path, faults)
    return found


def read_stm(path: str | os.PathLike[str]) -> list[Utterance]:
    """Utterances of a file of the workflow's own, in its order, as `write_stm` wrote them.

    They may overlap, a speaker's own too, and their text may be empty. Raises UserError where there is no file,
    FaultyInput listing every faulty line: fewer than five fields, times that are none, an end before the start, bytes
    that are not UTF-8.
    """
    path = Path(path)
    lines, faults = read_lines(path, _FORMAT)
    utterances = []
    for number, line in lines:
        utterance = _parse(line.split(maxsplit=5))
        if isinstance(utterance, str):
            faults.append(f"{path}:{number}: {utterance}")
        else:
            utterances.append(utterance)
    raise_faults(path, faults)
    return utterances


def _without_label(text: str, declared: Collection[str], found: Stm) -> str:
    """A text without its label, which is counted in `found`, as is what only looks like one."""
    first, *rest = text.split(maxsplit=1) or [""]
    if first.lower() in declared or _LABEL.fullmatch(first):
        found.labels[first] += 1
        return "".join(rest)
    if _TAG.fullmatch(first):
        found.tags[first] += 1
    return text


def _split(line: str) -> list[str]:
    """Five fields and the text: between tabs where the fourth and fifth are times then, or else between spaces."""
    if "\t" in line:
        fields = [part.strip() for part in line.split("\t", maxsplit=5)]
        if len(fields) >= 5 and all(fields[:5]) and None not in map(parse_seconds, fields[3:5]):
            return fields
    return line.split(maxsplit=5)


def _parse(fields: list[str]) -> Utterance | str:
    """The utterance of a line's fields, or what is wrong with them."""
    if len(fields) < 5:
        return f"found {len(fields)} fields, expected 5 and a text, maybe empty"
    recording, _, speaker, *times = fields[:5]
    start, end = map(parse_seconds, times)
    if fault := interval_fault(start, end, (times[0], times[1])):
        return fault
    if fault := name_fault("recording", recording) or name_fault("speaker", speaker):
        return fault
    return Utterance(recording, speaker, start, end, "".join(fields[5:]))  # type: ignore[arg-type]


def _looks_cut(fields: list[str]) -> bool:
    """Whether a name may have been cut at a space: `Speaker 1 5.00 7.50 …` has a third number, the real end."""
    word = fields[5].split(maxsplit=1)[0] if len(fields) > 5 and fields[5].split() else ""
    return (
        fields[3].isdigit()
        and bool(_DECIMAL.fullmatch(fields[4]))
        and bool(_DECIMAL.fullmatch(word))
        and float(word) >= float(fields[4])
    )


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
