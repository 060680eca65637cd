"""Who said what, in the format that is asked for: text for people, and the files of other tools."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mlcslm.formats.rttm import write_rttm
from mlcslm.formats.seglst import write_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import write_stm
from mlcslm.formats.subtitles import subtitles
from mlcslm.formats.textgrid import textgrid

Format = Literal["text", "json", "srt", "vtt", "stm", "rttm", "textgrid", "ctm"]
SUFFIXES: dict[Format, str] = {
    "text": ".txt",
    "json": ".seglst.json",
    "srt": ".srt",
    "vtt": ".vtt",
    "stm": ".stm",
    "rttm": ".rttm",
    "textgrid": ".TextGrid",
    "ctm": ".ctm",
}
ONE_RECORDING: tuple[Format, ...] = ("srt", "vtt", "textgrid", "json")
"""Formats whose files name no recording, or are not lines: of several recordings they need a file each."""


def conversation(utterances: Sequence[Utterance], kind: Format, seconds: float) -> str:
    """What a file of that format says of a recording of so many seconds.

    text: a line an utterance, its times and speaker before it; json: SegLST; ctm: each word with its share, by
    characters, of its utterance's time, as no word's own time is known.
    """
    if kind == "text":
        return "".join(_text_line(one) for one in utterances)
    if kind in ("srt", "vtt"):
        return subtitles(utterances, kind)
    if kind == "textgrid":
        return textgrid(utterances, seconds)
    if kind == "ctm":
        return "".join(line for one in utterances for line in _ctm_lines(one))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "turns")
        if kind == "rttm":
            turns: dict[str, list[Segment]] = {}
            for one in utterances:
                turns.setdefault(one.recording, []).append(Segment(one.start, one.end, one.speaker))
            write_rttm(path, turns)
        elif kind == "stm":
            write_stm(path, utterances)
        else:
            write_seglst(path, utterances)
        return path.read_text(encoding="utf-8")


def clock(seconds: float) -> str:
    """A time of a recording as people read it.

    >>> clock(3725.5)
    '1:02:05.50'
    """
    hundredths = round(100 * seconds)
    return f"{hundredths // 360000}:{hundredths // 6000 % 60:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"


def _text_line(utterance: Utterance) -> str:
    words = " ".join(utterance.text.split())
    said = f"{utterance.speaker}: {words}" if words else utterance.speaker
    return f"{clock(utterance.start)} - {clock(utterance.end)}  {said}\n"


def _ctm_lines(utterance: Utterance) -> list[str]:
    words = utterance.text.split()
    share = (utterance.end - utterance.start) / max(1, sum(map(len, words)))
    lines, start = [], utterance.start
    for word in words:
        length = share * len(word)
        lines.append(f"{utterance.recording} 1 {start:.3f} {length:.3f} {word} NA lex {utterance.speaker}\n")
        start += length
    return lines
