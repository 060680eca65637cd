"""What a diarizer found and transcribed, as the files that are scored and handed in: RTTM, STM, SegLST."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlcslm.formats.rttm import write_rttm
from mlcslm.formats.seglst import write_seglst
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import write_stm
from mlcslm.io.files import atomic_folder
from mlcslm.io.parquet import read_table


def write_turns(segments: Path, recordings: Iterable[str], folder: Path) -> None:
    """Write `<recording>.rttm` into `folder`, made anew, for each of `recordings`: its turns in `segments`, or none."""
    turns: dict[str, list[Segment]] = {recording: [] for recording in recordings}
    for row in read_table(segments, columns=["recording", "speaker", "start", "end"]).to_pylist():
        turns[row["recording"]].append(Segment(row["start"], row["end"], row["speaker"]))
    with atomic_folder(folder, "folder of turns", own=["*.rttm"]) as temporary:
        for recording, found in turns.items():
            write_rttm(temporary / f"{recording}.rttm", {recording: found})


def write_transcripts(hypotheses: Path, stm: Path, seglst: Path) -> None:
    """Write the hypotheses of segments (of `transcribe_segments`) as STM and as SegLST, one entry a segment.

    Texts are raw, as scoring takes them; a segment without a transcript has no words.
    """
    columns = ["recording", "speaker", "start", "end", "transcript"]
    utterances = [
        Utterance(row["recording"], row["speaker"], row["start"], row["end"], row["transcript"] or "")
        for row in read_table(hypotheses, columns=columns).to_pylist()
    ]
    write_stm(stm, utterances)
    write_seglst(seglst, utterances)
