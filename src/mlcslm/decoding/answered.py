"""A model as the diarizer: it answers stretches of a session with speakers, times and words (template `diarized`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import Group
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.corpus.identifiers import utterance_id
from mlcslm.decoding.decoder import SCHEMA
from mlcslm.decoding.generation import SEGMENT_COLUMNS, transcribe_segments
from mlcslm.diarization.linking import link_speakers
from mlcslm.diarization.pipeline import SEGMENTS_SCHEMA, Diarizer, diarize_manifest, session_waveform
from mlcslm.diarization.windows import windows_of
from mlcslm.formats.segments import Segment
from mlcslm.io.parquet import read_table, write_table
from mlcslm.runtime.progress import say
from mlcslm.text.diarized import Said
from mlcslm.text.templates import said_in


def stretches_between_pauses(segments: Sequence[Segment], longest_s: float) -> list[Segment]:
    """Stretches of up to `longest_s` seconds that hold the segments of speech, in order, cut between these.

    >>> stretches_between_pauses([Segment(0.5, 4.0), Segment(4.2, 9.0), Segment(12.0, 13.0)], 10.0)
    [Segment(start=0.5, end=9.0, speaker=''), Segment(start=12.0, end=13.0, speaker='')]
    """
    found: list[Segment] = []
    for segment in segments:
        if found and segment.end - found[-1].start <= longest_s:
            found[-1] = Segment(found[-1].start, segment.end)
        else:
            found.append(Segment(segment.start, segment.end))
    return found


def answer_sessions(
    manifest: Path,
    diarizer: Diarizer,
    stretch_s: float,
    checkpoint: Path,
    decoding: DecodingConfig,
    languages: Mapping[str, Group],
    *,
    stretches: Path,
    answers: Path,
    segments: Path,
    hypotheses: Path,
    skip_faulty: bool = False,
    **options: Any,
) -> tuple[list[str], list[Any]]:
    """Diarize and transcribe the sessions of `manifest` by one model; returns what `diarize_manifest` does.

    Writes its `stretches` and raw `answers` to them, and what these say as `segments` and `hypotheses`, as
    `diarize_manifest` and `transcribe_segments` do. Of `diarizer` the detector and the embedding are used, which links
    the speakers of a session's stretches. Malformed answers are read as far as possible, and counted.
    """

    def cut(waveform: Audio) -> list[Segment]:
        return stretches_between_pauses(diarizer.detector(waveform), stretch_s)

    recordings, faults = diarize_manifest(manifest, cut, languages, stretches, skip_faulty=skip_faulty)
    transcribe_segments(checkpoint, stretches, answers, decoding, languages, **options)
    rows = {row["utterance_id"]: row for row in read_table(stretches).to_pylist()}
    by_session: dict[str, list[dict[str, Any]]] = {}
    reasons: Counter[str] = Counter()
    for answer in read_table(answers).to_pylist():
        row = rows[answer["utterance_id"]]
        said, _ = said_in(answer["raw_text"], row["end"] - row["start"])
        reasons[answer["stop_reason"]] += 1
        by_session.setdefault(row["session_id"], []).append({"row": row, "answer": answer, "said": said})
    if reasons.total() > reasons["end"]:
        say(f"{manifest.stem}: {describe_reasons(reasons)}, read as far as possible")
    found = [turn for name in by_session for turn in _turns(by_session[name], diarizer, languages)]
    write_table(pa.Table.from_pylist([segment for segment, _ in found], schema=SEGMENTS_SCHEMA), segments)
    schema = pa.unify_schemas([SCHEMA, pa.schema([SEGMENTS_SCHEMA.field(name) for name in SEGMENT_COLUMNS])])
    write_table(pa.Table.from_pylist([one for _, one in found], schema=schema), hypotheses)
    return recordings, faults


def describe_reasons(reasons: Mapping[str, int]) -> str:
    """How many answers are malformed or truncated, from the numbers of their `stop_reason`.

    >>> describe_reasons({"end": 7, "length": 2, "malformed": 1})
    '1 of 10 answers malformed, 2 truncated'
    """
    malformed, truncated = reasons.get("malformed", 0), reasons.get("length", 0)
    return f"{malformed:,} of {sum(reasons.values()):,} answers malformed, {truncated:,} truncated"


def _turns(
    stretches: Sequence[dict[str, Any]], diarizer: Diarizer, languages: Mapping[str, Group]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of segments and hypotheses of one session's stretches, in order."""
    local = sorted({(number, one.speaker) for number, part in enumerate(stretches) for one in part["said"]})
    waveform = session_waveform(stretches[0]["row"]["audio"])
    spans = [
        _windows(stretches[number]["row"]["start"], stretches[number]["said"], speaker, len(waveform) / SAMPLE_RATE)
        for number, speaker in local
    ]
    voices = _voices(diarizer.embedder.embed_windows(waveform, [span for own in spans for span in own]), spans)
    linked = link_speakers(
        voices,
        [number for number, _ in local],
        fewest=diarizer.num_speakers or diarizer.min_speakers or 1,
        most=diarizer.num_speakers or diarizer.max_speakers,
    )
    names = dict(zip(local, linked, strict=True))
    merged: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for number, part in enumerate(stretches):
        row, answer = part["row"], part["answer"]
        prefix = f"{languages[row['grp']].recording_prefix}_"
        for place, one in enumerate(part["said"]):
            speaker = f"S{names[number, one.speaker]}"
            start, end = round(row["start"] + one.start, 3), round(row["start"] + one.end, 3)
            name = utterance_id(row["grp"], row["session_id"].removeprefix(prefix), speaker, start, end)
            if name in merged:  # said twice at the same time: one turn with all words
                hypothesis = merged[name][1]
                hypothesis["transcript"] = hypothesis["raw_text"] = f"{hypothesis['transcript']} {one.text}"
                continue
            segment = {
                **row,
                "utterance_id": name,
                "speaker": speaker,
                "turn": len(merged),
                "start": start,
                "end": end,
                "text": None,
            }
            # The cost of the whole answer is its first turn's, so that sums are right.
            cost = {
                key: answer[key] if place == 0 else type(answer[key])(0)
                for key in ("tokens", "audio_tokens", "seconds")
            }
            words = {"utterance_id": name, "raw_text": one.text, "transcript": one.text, "think": None}
            place_of = {key: segment[key] for key in SEGMENT_COLUMNS}
            merged[name] = segment, {**answer, **cost, **words, **place_of}
    return list(merged.values())


def _windows(start: float, said: Sequence[Said], speaker: int, duration: float) -> list[tuple[float, float]]:
    """Windows, in seconds of the session, of what a speaker says in the stretch that begins at `start`."""
    turns = [
        Segment(start + one.start, min(start + one.end, duration))
        for one in said
        if one.speaker == speaker and start + one.start < duration
    ]
    return [(window.start, window.end) for window in windows_of(turns)]


def _voices(vectors: np.ndarray[Any, Any], spans: Sequence[Sequence[tuple[float, float]]]) -> np.ndarray[Any, Any]:
    """(speakers, dim) mean embeddings of each speaker's windows, of which `vectors` are; zero for none."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    found, first = np.zeros((len(spans), vectors.shape[1])), 0
    for number, own in enumerate(spans):
        if own:
            found[number] = unit[first : first + len(own)].mean(axis=0)
        first += len(own)
    return found
