"""A stretch of speech of one speaker and what was said: what STM and SegLST files hold a line or an entry of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Utterance:
    """Words of one speaker between two times of a recording.

    recording: the Track 2 recording, `<Language or Accent>_<session>`; start, end: seconds; text: raw, maybe empty.
    """

    recording: str
    speaker: str
    start: float
    end: float
    text: str


def by_recording(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """Utterances of each recording, recordings and utterances in the order given."""
    recordings: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        recordings.setdefault(utterance.recording, []).append(utterance)
    return recordings
