"""Output of the workflow's diarizer in the formats that are scored and submitted: RTTM, STM, SegLST."""

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
    """Write `<recording>.rttm` for each of `recordings`, with its turns in `segments`, if any; `folder` is replaced."""
    turns: dict[str, list[Segment]] = {recording: [] for recording in recordings}
    for row in read_table(segments, columns=["recording", "speaker", "start", "end"]).to_pylist():
        turns[row["recording"]].append(Segment(row["start"], row["end"], row["speaker"]))
    with atomic_folder(folder, "folder of turns", own=["*.rttm"]) as temporary:
        for recording, found in turns.items():
            write_rttm(temporary / f"{recording}.rttm", {recording: found})


def write_transcripts(hypotheses: Path, stm: Path, seglst: Path) -> None:
    """Write the hypotheses of segments (from `transcribe_segments`) as STM and as SegLST, one entry per segment.

    Texts are raw, as scoring expects them; a segment without a transcript has no words.
    """
    columns = ["recording", "speaker", "start", "end", "transcript"]
    utterances = [
        Utterance(row["recording"], row["speaker"], row["start"], row["end"], row["transcript"] or "")
        for row in read_table(hypotheses, columns=columns).to_pylist()
    ]
    write_stm(stm, utterances)
    write_seglst(seglst, utterances)
