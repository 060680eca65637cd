"""What a file of another tool says was spoken, before it is checked; and who says so, where text names the speaker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

NOBODY = "unknown"
"""The speaker of utterances whose file names none."""
_PREFIX = re.compile(r"\[?([^\[\]:\n]{1,40}?)\]?\s*:\s+(.*)", re.DOTALL)


@dataclass(frozen=True)
class Spoken:
    """An utterance. place: where in the file, for messages; recording, speaker: "" if not given; text: None without."""

    place: str
    start: float | None
    end: float | None
    text: str | None
    speaker: str = ""
    recording: str = ""


def with_speakers(spoken: Iterable[Spoken]) -> list[Spoken]:
    """Utterances with the speaker taken from `NAME: text` or `[NAME]: text`, if all of them begin so.

    A text that is but such a name has no words, as `mlcslm` itself writes it.

    >>> [(one.speaker, one.text) for one in with_speakers([Spoken("", 0, 1, "A: yes"), Spoken("", 1, 2, "A")])]
    [('A', 'yes'), ('A', '')]
    """
    found = list(spoken)
    split = [_PREFIX.fullmatch(one.text.strip()) if one.text else None for one in found]
    names = {match[1].strip() for match in split if match}
    if not names or any(
        one.text and not match and one.text.strip() not in names for one, match in zip(found, split, strict=True)
    ):
        return found
    return [
        replace(one, speaker=match[1].strip(), text=match[2])
        if match
        else replace(one, speaker=(one.text or "").strip(), text="")
        for one, match in zip(found, split, strict=True)
    ]
