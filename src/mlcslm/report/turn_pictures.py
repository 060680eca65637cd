"""One SVG picture per session: who speaks when, in the reference and for a diarizer.

Written by hand: bars, names and a scale need no plotting library, and the same turns give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from mlcslm.formats.rttm import read_rttm
from mlcslm.formats.segments import Segment
from mlcslm.io.files import atomic_folder
from mlcslm.io.parquet import read_table
from mlcslm.runtime.progress import watched

LINE_SECONDS = 60.0
"""Seconds per line of a picture; longer sessions have several lines."""
_WIDTH, _LEFT, _LANE, _GAP, _HEAD, _SCALE = 1080, 110, 16, 6, 30, 24
# Okabe and Ito's colours, which colour-blind readers can tell apart; sky blue and orange first.
_COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#0072b2", "#d55e00", "#999999")


def draw_sessions(manifest: Path, rttm: Path, folder: Path) -> None:
    """Write `<recording>.svg` into a new `folder` for each session of `manifest` that has a file in `rttm`."""
    rows = read_table(manifest, columns=["session_id", "speaker", "start", "end"]).to_pylist()
    references: dict[str, list[Segment]] = {}
    for row in rows:
        references.setdefault(row["session_id"], []).append(Segment(row["start"], row["end"], row["speaker"]))
    with atomic_folder(folder, "folder of pictures", own=["*.svg"]) as temporary:
        for recording, reference in watched(list(references.items()), "pictures", "recording"):
            file = rttm / f"{recording}.rttm"
            if file.is_file():
                picture = draw_turns(recording, reference, read_rttm(file).get(recording, []))
                (temporary / f"{recording}.svg").write_text(picture, encoding="utf-8")


def draw_turns(recording: str, reference: Sequence[Segment], hypothesis: Sequence[Segment]) -> str:
    """SVG of a session's turns: a lane per speaker, reference above hypothesis, a line per minute.

    Speakers of the hypothesis have the colour of the reference's that they share most time with; those without one
    have colours of their own.
    """
    colours = speaker_colours(reference, hypothesis)
    lanes = [("reference", name) for name in _names(reference)] + [("found", name) for name in _names(hypothesis)]
    turns = {"reference": reference, "found": hypothesis}
    duration = max((turn.end for turn in (*reference, *hypothesis)), default=0.0)
    lines = max(1, -int(-duration // LINE_SECONDS))
    line_height = len(lanes) * (_LANE + _GAP) + _SCALE
    parts = [_text(8, 20, f"{recording}: speakers of the reference above, speakers found below", 13)]
    for line in range(lines):
        first, top = line * LINE_SECONDS, _HEAD + line * line_height
        last = min(duration, first + LINE_SECONDS)
        ticks = [first + second for second in range(0, int(LINE_SECONDS), 10) if first + second <= last]
        for lane, (kind, name) in enumerate(lanes):
            y = top + lane * (_LANE + _GAP)
            parts.append(_text(8, y + 12, f"{kind} {name}", 11))
            width = _x(last, first) - _LEFT
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.2f}" height="{_LANE}" fill="#f4f4f4"/>')
            parts += [
                _bar(turn, first, y, colours[kind, name])
                for turn in turns[kind]
                if turn.speaker == name and turn.end > first and turn.start < first + LINE_SECONDS
            ]
        bottom = top + len(lanes) * (_LANE + _GAP)
        parts += [
            f'<path d="M{_x(tick, first):.2f} {top}V{bottom}" stroke="#999999" stroke-width="0.5"/>' for tick in ticks
        ]
        parts += [_text(_x(tick, first), bottom + _SCALE - 12, f"{tick:.0f} s", 10) for tick in ticks]
    height = _HEAD + lines * line_height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>", ""])


def speaker_colours(reference: Sequence[Segment], hypothesis: Sequence[Segment]) -> dict[tuple[str, str], str]:
    """Colour of each ("reference" or "found", speaker).

    >>> mine, theirs = [Segment(0, 4, "O1"), Segment(4, 8, "O2")], [Segment(0, 3, "S1"), Segment(5, 8, "S2")]
    >>> colours = speaker_colours(mine, theirs)
    >>> colours["found", "S1"] == colours["reference", "O1"] != colours["found", "S2"]
    True
    """
    named, found = _names(reference), _names(hypothesis)
    colours = {("reference", name): _COLOURS[number % len(_COLOURS)] for number, name in enumerate(named)}
    shared = {
        (name, other): sum(
            max(0.0, min(a.end, b.end) - max(a.start, b.start))
            for a in reference
            if a.speaker == name
            for b in hypothesis
            if b.speaker == other
        )
        for name in named
        for other in found
    }
    own = iter(range(len(named), len(named) + len(found)))
    taken: Mapping[str, str] = {}
    for (name, other), time in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
        if time > 0 and other not in taken and name not in taken.values():
            taken = {**taken, other: name}
    for other in found:
        free = _COLOURS[next(own) % len(_COLOURS)]
        colours["found", other] = colours["reference", taken[other]] if other in taken else free
    return colours


def _names(turns: Iterable[Segment]) -> list[str]:
    return sorted({turn.speaker for turn in turns})


def _x(time: float, first: float) -> float:
    return _LEFT + (time - first) / LINE_SECONDS * (_WIDTH - _LEFT)


def _bar(turn: Segment, first: float, y: int, colour: str) -> str:
    start, end = max(turn.start, first), min(turn.end, first + LINE_SECONDS)
    x, width = _x(start, first), (end - start) / LINE_SECONDS * (_WIDTH - _LEFT)
    title = f"<title>{escape(turn.speaker)} {turn.start:.2f} to {turn.end:.2f} s</title>"
    return f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_LANE}" fill="{colour}">{title}</rect>'


def _text(x: float, y: float, text: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}">{escape(text)}</text>'
