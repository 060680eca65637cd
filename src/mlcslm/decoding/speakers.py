"""Who said what in a recording: a diarizer's turns, transcribed by a model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import soundfile

from mlcslm.corpus.audio import SAMPLE_RATE
from mlcslm.diarization.recordings import DiarizedRecording
from mlcslm.formats.segments import Utterance


class RowTranscriber(Protocol):
    """What transcribes manifest rows: `Transcriber`, or a ready recogniser's."""

    def find_group(self, group: str | None) -> str | None:
        """The group that is called so; raises UserError if there is none."""

    def decode(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """A hypothesis for each row, in any order."""


def transcribe_turns(
    transcriber: RowTranscriber, recording: DiarizedRecording, group: str | None = None
) -> list[Utterance]:
    """The turns of a recording with what is said in them, raw; turns without words are left out.

    Where each channel is a speaker, a turn is heard on its speaker's channel alone. group: see
    `Transcriber.find_group`.
    """
    name = transcriber.find_group(group)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, channel in enumerate(recording.channels):
            files.append(Path(folder, f"{number}.wav"))
            soundfile.write(files[-1], channel, SAMPLE_RATE, subtype="FLOAT")
        rows: list[dict[str, Any]] = [
            {
                "utterance_id": f"{recording.name}-{turn:05d}",
                "session_id": recording.name,
                "grp": name,
                "speaker": segment.speaker,
                "turn": turn,
                "audio": str(files[int(segment.speaker.removeprefix("S")) - 1] if len(files) > 1 else files[0]),
                "start": segment.start,
                "end": segment.end,
            }
            for turn, segment in enumerate(recording.turns)
        ]
        found = {one["utterance_id"]: one["transcript"] or "" for one in transcriber.decode(rows)}
    utterances = [
        Utterance(
            recording.name, row["speaker"], row["start"], row["end"], " ".join(found[row["utterance_id"]].split())
        )
        for row in rows
    ]
    return [one for one in utterances if one.text]
