"""Subtitles: SRT and WebVTT, a cue for each utterance, `SPEAKER: text`; through pysubs2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from mlcslm.formats.segments import Utterance

_MARKUP = str.maketrans({"{": "(", "}": ")", "<": "‹", ">": "›", "\\": "/"})
"""What players take for markup, and what is shown instead."""


def subtitles(utterances: Iterable[Utterance], kind: Literal["srt", "vtt"]) -> str:
    """The file's content, in order of start, times in whole milliseconds; one without text says the speaker alone.

    >>> print(subtitles([Utterance("a", "S1", 1.5, 2.25, "good day")], "srt").strip())
    1
    00:00:01,500 --> 00:00:02,250
    S1: good day
    """
    import pysubs2

    file = pysubs2.SSAFile()
    for one in sorted(utterances, key=lambda one: (one.start, one.end)):
        words = " ".join(one.text.translate(_MARKUP).split())
        event = pysubs2.SSAEvent(start=round(1000 * one.start), end=round(1000 * one.end), name=one.speaker)
        event.text = f"{one.speaker}: {words}" if words else one.speaker
        file.append(event)
    return str(file.to_string(kind))
