"""Answers that say who speaks when: `[0.0][S01]text[1.2][1.4][S02]text[3.0]`, times in seconds of the stretch heard.

Times have one decimal, as the model hears ten audio tokens a second, and are written in digits and brackets that every
tokenizer has: a checkpoint can be trained on from one that knows no times, because no row of its embedding is new, and
the nearness of 12.3 and 12.4 shows in what they share. A time costs four to six tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SHORTEST_S = 0.1  # what a time resolves

_MARK = re.compile(r"\[\s*(?P<time>\d+(?:\.\d*)?)\s*\]|\[\s*S(?P<speaker>\d+)\s*\]")


@dataclass(frozen=True)
class Said:
    """What one speaker says from `start` to `end`, in seconds; speakers are numbered from 1 as they appear."""

    start: float
    end: float
    speaker: int
    text: str


def diarized_text(said: Iterable[Said], start: float = 0.0) -> str:
    """The answer for a stretch that begins at `start`.

    >>> diarized_text([Said(5.02, 6.17, 1, "oui"), Said(6.3, 7.0, 2, "ça va [bien]")], start=5.0)
    '[0.0][S01]oui[1.2][1.3][S02]ça va bien[2.0]'
    """
    return "".join(
        f"[{max(0.0, one.start - start):.1f}][S{one.speaker:02d}]{_bare(one.text)}[{max(0.0, one.end - start):.1f}]"
        for one in said
    )


def parse_diarized(text: str, longest_s: float = float("inf")) -> tuple[list[Said], int]:
    """What an answer says, in order of its words, and how many faults it has; no words are lost.

    Words without a time begin where the words before ended, and end at the next time or at `longest_s`, the length of
    the stretch; without a speaker, they are the last one's. Each of these is a fault, as is a time that is beyond the
    stretch or runs backwards, and a time or speaker without words.

    >>> parse_diarized("[0.0][S01]oui[1.2][1.3][S02]ça va[2.0]")[1]
    0
    >>> parse_diarized("oui [1.2] [S02] ça va [0.8", 9.0)
    ([Said(start=0.0, end=1.2, speaker=1, text='oui'), Said(start=1.2, end=9.0, speaker=2, text='ça va 0.8')], 5)
    """
    said: list[Said] = []
    faults = 0
    start: float | None = None
    speaker: int | None = None
    words: str | None = None
    latest = 0.0  # no time may be before it

    def close(end: float | None) -> None:
        nonlocal faults, start, speaker, words, latest
        faults += (start is None) + (speaker is None) + (end is None)
        begin = latest if start is None else start
        end = min(longest_s if end is None else end, longest_s)
        if not begin + SHORTEST_S / 2 < end < float("inf"):
            faults += end != float("inf")
            end = begin + SHORTEST_S
        last = said[-1].speaker if said else 1
        said.append(Said(begin, end, last if speaker is None else speaker, words or ""))
        latest = begin
        start = speaker = words = None

    position = 0
    for mark in [*_MARK.finditer(text), None]:
        piece = text[position : mark.start() if mark else len(text)]
        position = mark.end() if mark else position
        faults += "[" in piece or "]" in piece
        if found := _bare(piece):
            words = found
        time = mark["time"] if mark else None
        if words is not None and (time is not None or mark is None):
            ended = None if time is None else float(time)
            close(ended)
            # Without a start of their own, the next words begin here.
            latest = said[-1].end if ended is not None else latest
            continue
        if mark is None:
            faults += (start is not None) + (speaker is not None)
        elif words is not None:  # a speaker in the middle of words: these ended
            close(None)
            speaker = int(mark["speaker"])
        elif time is not None:
            faults += start is not None or speaker is not None
            start, back = float(time), said[-1].start if said else 0.0
            if not back <= start < longest_s:
                faults += 1
                start = None if start >= longest_s else back
        else:
            faults += speaker is not None
            speaker = int(mark["speaker"])
    return said, faults


def _bare(text: str) -> str:
    """Words, without brackets."""
    return " ".join(re.sub(r"[\[\]]", " ", text).split())
