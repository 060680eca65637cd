"""STM: who says what when. `<recording> 1 <speaker> <start> <end> [<label>] <text>`, in seconds: Track 2's submission.

The format is NIST's (SCTK's infmts.htm). The workflow's own files are plain: everything after the fifth field is text.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.parsing import (
    check_interval,
    check_written,
    counted,
    name_fault,
    parse_seconds,
    raise_faults,
    read_lines,
    rendered,
)
from mlcslm.formats.segments import Utterance
from mlcslm.formats.zones import Zone
from mlcslm.io.files import atomic_path

IGNORED_TEXT = "ignore_time_segment_in_scoring"
GAP_SPEAKERS = frozenset(("inter_segment_gap", "excluded_region"))
"""Speaker names that mark unscored zones in NIST's own files, with IGNORED_TEXT as the text."""

_FORMAT = "an STM file, `<recording> 1 <speaker> <start> <end> <text>` per line"
_LABEL = re.compile(r"<[^<>\s]*,[^<>\s]*>|<na>", re.IGNORECASE)
_DECLARED = re.compile(r';;\s*LABEL\s+"([^"]*)"', re.IGNORECASE)
_TAG = re.compile(r"<[^<>\s]+>")
_ALTERNATION = re.compile(r"\{[^{}]*\s/\s[^{}]*\}")
_DECIMAL = re.compile(r"\d+\.\d+", re.ASCII)


@dataclass(frozen=True)
class Stm:
    """Content of an STM file, in file order.

    unscored: zones of each recording marked as such; labels: how many texts had each label, which is removed;
    tags: how many texts begin with each tag that looks like a label but is kept as a word.
    """

    utterances: list[Utterance] = field(default_factory=list)
    unscored: dict[str, list[Zone]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)

    def notes(self, *, zones_used: bool) -> list[str]:
        """Notes on ignored content. zones_used: whether unscored zones are excluded from scoring."""
        notes = []
        if zones := [zone for of_recording in self.unscored.values() for zone in of_recording]:
            seconds = sum(end - start for start, end in zones)
            notes.append(
                f"excluded {counted(len(zones), 'zone')} marked IGNORE_TIME_SEGMENT_IN_SCORING ({seconds:,.2f} s) from "
                "scoring"
                if zones_used
                else f"ignored {counted(len(zones), 'line')} marked IGNORE_TIME_SEGMENT_IN_SCORING: only the reference "
                "may exclude zones from scoring"
            )
        if self.labels:
            notes.append(f"removed {counted(self.labels.total(), 'label')} such as {next(iter(self.labels))}")
        if self.tags:
            examples = ", ".join(list(self.tags)[:3])
            notes.append(
                f"found {counted(self.tags.total(), 'text')} beginning with {examples}, scored as a word: a label has "
                "a comma (`<o,f0,male>`) or is declared by a `;; LABEL` line"
            )
        return notes


def read_nist_stm(path: str | os.PathLike[str]) -> Stm:
    """Read anyone's STM file, as NIST's sclite does.

    A label after the times is not text: `<o,f0,male>`, `<NA>`, or one declared by a `;; LABEL` line. The text
    IGNORE_TIME_SEGMENT_IN_SCORING marks a zone that is not scored. Fields are separated by tabs if the first five are,
    so that a name may contain a space. Raises UserError if the file does not exist, FaultyInput listing every faulty
    line: as `read_stm`, and alternatives (`{a / b}`) and names split at a space.
    """
    path = Path(path)
    lines, faults = read_lines(path, _FORMAT, comments=False)
    declared = {f"<{match[1].lower()}>" for _, line in lines if (match := _DECLARED.match(line))}
    found = Stm()
    split_names: dict[str, list[int]] = {}
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
                f"{path}:{number}: found the alternatives {rendered(alternation[0])}, which are not supported; keep "
                "the one that was said"
            )
            continue
        if _has_split_name(fields):
            split_names.setdefault(utterance.speaker, []).append(number)
        found.utterances.append(Utterance(utterance.recording, utterance.speaker, utterance.start, utterance.end, text))
    lines_of = Counter(utterance.speaker for utterance in found.utterances)
    for speaker, numbers in split_names.items():
        if len(numbers) == lines_of[speaker]:
            faults += [
                f"{path}:{number}: found three numbers after the speaker {rendered(speaker)}, expected start and end; "
                "a name with a space in it? Write `_`, or separate fields with tabs"
                for number in numbers
            ]
    raise_faults(path, faults)
    return found


def read_stm(path: str | os.PathLike[str]) -> list[Utterance]:
    """Utterances of one of the workflow's own files, in file order, as written by `write_stm`.

    They may overlap, even for one speaker, and their text may be empty. Raises UserError if the file does not exist,
    FaultyInput listing every faulty line: fewer than five fields, invalid times, an end before the start, bytes that
    are not UTF-8.
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
    """A text without its label; labels, and tags that only look like one, are counted in `found`."""
    first, *rest = text.split(maxsplit=1) or [""]
    if first.lower() in declared or _LABEL.fullmatch(first):
        found.labels[first] += 1
        return "".join(rest)
    if _TAG.fullmatch(first):
        found.tags[first] += 1
    return text


def _split(line: str) -> list[str]:
    """Five fields and the text: separated by tabs if that makes the fourth and fifth times, otherwise by spaces."""
    if "\t" in line:
        fields = [part.strip() for part in line.split("\t", maxsplit=5)]
        if len(fields) >= 5 and all(fields[:5]) and None not in map(parse_seconds, fields[3:5]):
            return fields
    return line.split(maxsplit=5)


def _parse(fields: list[str]) -> Utterance | str:
    """The utterance in a line's fields, or what is wrong with them."""
    if len(fields) < 5:
        return f"found {len(fields)} fields, expected 5 and a text, which may be empty"
    recording, _, speaker, *times = fields[:5]
    interval = check_interval(parse_seconds(times[0]), parse_seconds(times[1]), (times[0], times[1]))
    if isinstance(interval, str):
        return interval
    if fault := name_fault("recording", recording) or name_fault("speaker", speaker):
        return fault
    return Utterance(recording, speaker, *interval, "".join(fields[5:]))


def _has_split_name(fields: list[str]) -> bool:
    """Whether a name was probably split at a space: `Speaker 1 5.00 7.50 …` has a third number, the actual end."""
    word = fields[5].split(maxsplit=1)[0] if len(fields) > 5 and fields[5].split() else ""
    return (
        fields[3].isdigit()
        and bool(_DECIMAL.fullmatch(fields[4]))
        and bool(_DECIMAL.fullmatch(word))
        and float(word) >= float(fields[4])
    )


def write_stm(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write utterances in the given order; times in full precision, so that they survive a round trip.

    White space in texts is collapsed. Raises ValueError for names that are empty or contain white space and for
    utterances that end before they start.
    """
    path = Path(path)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for utterance in utterances:
            check_written(path, (utterance.recording, utterance.speaker), utterance.start, utterance.end)
            times = f"{float(utterance.start)!r} {float(utterance.end)!r}"
            words = " ".join([f"{utterance.recording} 1 {utterance.speaker} {times}", *utterance.text.split()])
            file.write(f"{words}\n")
