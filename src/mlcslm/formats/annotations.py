"""Annotations of conversations: TextGrid (through praatio), ELAN, and Audacity's labels."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mlcslm.errors import UserError
from mlcslm.formats.parsing import parse_seconds, raise_faults, read_bytes, read_lines
from mlcslm.formats.spoken import Spoken, with_speakers


def read_textgrid(path: Path) -> list[Spoken]:
    """Intervals of a TextGrid of Praat, a tier for each speaker. Empty intervals and tiers of points are nobody's.

    A label that is the tier's name has no words, as `mlcslm` itself writes it. Raises UserError for other files.
    """
    from praatio import textgrid

    content = read_bytes(path, "a TextGrid of Praat")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "turns.TextGrid")
        plain.write_bytes(content)
        try:
            tiers = textgrid.openTextgrid(str(plain), includeEmptyIntervals=False, duplicateNamesMode="rename").tiers
        except Exception as error:  # praatio raises whatever its parsing runs into
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{path}: cannot be read as a TextGrid ({reason[:200]}). Save it in Praat again.") from None
    return [
        Spoken(
            f"tier {tier.name}, interval {number}",
            one.start,
            one.end,
            "" if one.label == tier.name else one.label,
            tier.name,
        )
        for tier in tiers
        if isinstance(tier, textgrid.IntervalTier)
        for number, one in enumerate(tier.entries, start=1)
    ]


def read_elan(path: Path) -> list[Spoken]:
    """Time-aligned annotations of the independent tiers of an ELAN file; the speaker is a tier's participant or name.

    Tiers that depend on others (translations, words) are not transcripts. Raises UserError for other XML, and for files
    with a document type, which ELAN never writes: entities could make them grow without end.
    """
    content = read_bytes(path, "an ELAN file (.eaf)")
    try:
        text = content.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError(f"{path}: declares a document type, which ELAN's files do not; expected ELAN's own .eaf.")
        root = ElementTree.fromstring(text.partition("?>")[2] if text.lstrip().startswith("<?xml") else text)
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as XML ({error}). Expected an ELAN file (.eaf).") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise UserError(f"{path}: found XML with the root {root.tag[:60]!r}, expected ELAN's ANNOTATION_DOCUMENT.")
    times = {slot.get("TIME_SLOT_ID"): parse_seconds(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")}
    return list(_annotations(root, times))


def _annotations(root: ElementTree.Element, times: dict[str | None, float | None]) -> Iterator[Spoken]:
    for tier in root.iter("TIER"):
        if tier.get("PARENT_REF"):
            continue
        speaker = tier.get("PARTICIPANT") or tier.get("TIER_ID") or ""
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            ends = [times.get(one.get(f"TIME_SLOT_REF{side}")) for side in (1, 2)]
            start, end = (None if time is None else time / 1000 for time in ends)
            yield Spoken(
                f"annotation {one.get('ANNOTATION_ID')}", start, end, one.findtext("ANNOTATION_VALUE") or "", speaker
            )


def read_audacity(path: Path) -> list[Spoken]:
    """Labels of Audacity: start, end and text, separated by tabs. Raises FaultyInput listing other lines.

    Lines of frequencies, which begin with a backslash, are skipped.
    """
    lines, faults = read_lines(path, "Audacity labels, `<start> <end> <label>` separated by tabs", comments=False)
    spoken = []
    for number, line in lines:
        if line.startswith("\\"):
            continue
        fields = line.split("\t")
        if len(fields) not in (2, 3):
            faults.append(f"{path}:{number}: found {len(fields)} fields, expected start, end and label")
            continue
        start, end = map(parse_seconds, fields[:2])
        spoken.append(Spoken(f"line {number}", start, end, fields[2] if len(fields) > 2 else ""))
    raise_faults(path, faults)
    return with_speakers(spoken)
