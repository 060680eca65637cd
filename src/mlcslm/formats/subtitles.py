"""Subtitles: SRT and WebVTT, a cue for each utterance, `SPEAKER: text`; through pysubs2."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from mlcslm.errors import UserError
from mlcslm.formats.parsing import read_bytes
from mlcslm.formats.segments import Utterance
from mlcslm.formats.spoken import Spoken, with_speakers

_MARKUP = str.maketrans({"{": "(", "}": ")", "<": "‹", ">": "›", "\\": "/"})
"""What players take for markup, and what is shown instead."""
_VOICE = re.compile(r"<v(?:\.[^ >]*)? ([^>]+)>")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[0-9:.]+>|\{\\[^{}]*\}")


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


def read_subtitles(path: Path, kind: Literal["srt", "vtt"]) -> list[Spoken]:
    """Cues of a file. Speakers are those of WebVTT's `<v NAME>`, or of `NAME: text` if every cue begins so.

    Other markup is removed. Raises UserError for a file that is not UTF-8 or has no cue.
    """
    import pysubs2

    expected = f"subtitles ({kind.upper()})"
    try:
        text = read_bytes(path, expected).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        file = pysubs2.SSAFile.from_string(text, format_=kind, keep_html_tags=True)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); save it as UTF-8.") from None
    except (pysubs2.exceptions.Pysubs2Error, ValueError, IndexError) as error:
        raise UserError(f"{path}: cannot be read as {expected}: {error}.") from None
    spoken = []
    for number, cue in enumerate(file, start=1):
        words = cue.text.replace("\\N", " ").replace("\\n", " ")
        voice = _VOICE.match(words.strip())
        words = html.unescape(_TAG.sub("", words))
        spoken.append(
            Spoken(f"cue {number}", cue.start / 1000, cue.end / 1000, words, voice[1].strip() if voice else "")
        )
    if not spoken:
        raise UserError(f"{path}: found no cue, `00:00:01,000 --> 00:00:02,000` and its text; expected {expected}.")
    return spoken if any(one.speaker for one in spoken) else with_speakers(spoken)
