"""TextGrids of Praat: a tier for each speaker, an interval for each utterance; through praatio."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlcslm.formats.segments import Utterance


def textgrid(utterances: Iterable[Utterance], seconds: float) -> str:
    """The file's content (long format) of a recording of so many seconds; one without text holds the speaker's name.

    Intervals of a tier cannot overlap: an utterance that begins before its speaker's last one has ended begins there,
    or, where nothing is left of it, adds its words to that.
    """
    from praatio import textgrid as praat

    tiers: dict[str, list[tuple[float, float, str]]] = {}
    for one in sorted(utterances, key=lambda one: (one.start, one.end)):
        intervals = tiers.setdefault(one.speaker, [])
        text = " ".join(one.text.split()) or one.speaker
        start = max(one.start, intervals[-1][1] if intervals else 0.0)
        if start < one.end:
            intervals.append((start, one.end, text))
        elif intervals:
            begin, end, before = intervals[-1]
            intervals[-1] = (begin, end, f"{before} {text}")
    end = max([seconds, *(intervals[-1][1] for intervals in tiers.values() if intervals)])
    file = praat.Textgrid(0, end)
    for speaker, intervals in tiers.items() or {"nobody": []}.items():
        file.addTier(praat.IntervalTier(speaker, intervals, 0, end))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "turns.TextGrid")
        file.save(str(path), format="long_textgrid", includeBlankSpaces=True)
        return path.read_text(encoding="utf-8")
