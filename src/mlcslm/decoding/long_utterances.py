"""Utterances longer than the encoder's window (30 s): split at pauses, decoded in pieces, and joined again.

Otherwise the encoder would drop everything beyond its window, and the words there would count as deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mlcslm.corpus.audio import SAMPLE_RATE, Audio, read_segment, segment_samples
from mlcslm.runtime.progress import say
from mlcslm.text.reflection import join_reflections, parse_reflection

Row = dict[str, Any]
_EARLIEST_SHARE = 0.6  # of the longest piece: earlier pauses are not used
_PAUSE_SECONDS = 0.2
_STEP_SECONDS = 0.02
STOP_REASONS = ("end", "malformed", "length")
"""Why answers end, worst last."""


class Pieces:
    """Manifest rows split for decoding, and their hypotheses joined again.

    rows: the given rows in order, with several rows, each with its own id, for one longer than `max_duration_s`; long:
    ids of these utterances.
    """

    def __init__(self, rows: Sequence[Row], max_duration_s: float) -> None:
        self.rows: list[Row] = []
        self.long: list[str] = []
        self._whole: dict[str, str] = {}
        self._parts: dict[str, dict[str, Row | None]] = {}
        for row in rows:
            if segment_samples(row["start"], row["end"]) <= round(max_duration_s * SAMPLE_RATE):
                self.rows.append(row)
                continue
            name = row["utterance_id"]
            pieces = _cut(row, max_duration_s)
            self.long.append(name)
            self._parts[name] = {piece["utterance_id"]: None for piece in pieces}
            self._whole |= {piece["utterance_id"]: name for piece in pieces}
            self.rows += pieces

    def join(self, hypotheses: Iterable[Row]) -> list[Row]:
        """Hypotheses of whole utterances, with those of split ones as soon as their last piece is given."""
        whole = []
        for hypothesis in hypotheses:
            name = self._whole.get(hypothesis["utterance_id"])
            if name is None:
                whole.append(hypothesis)
                continue
            parts = self._parts[name]
            parts[hypothesis["utterance_id"]] = hypothesis
            found = [part for part in parts.values() if part is not None]
            if len(found) == len(parts):
                whole.append(_joined(name, found))
        return whole


def reported_pieces(rows: Sequence[Row], max_duration_s: float, label: str, limit: str) -> Pieces:
    """`Pieces` of the rows; a message that starts with `label` names those longer than the `limit`, as said there."""
    pieces = Pieces(rows, max_duration_s)
    if count := len(pieces.long):
        some = ", ".join(pieces.long[:3]) + (", …" if count > 3 else "")
        what = "1 utterance is" if count == 1 else f"{count:,} utterances are"
        say(f"{label}: {what} longer than {limit}, decoded in pieces cut at pauses: {some}")
    return pieces


def cut_at_pauses(audio: Audio, longest: int) -> list[int]:
    """Samples at which to split `audio` (samples,) into pieces of at most `longest`: where it is quietest.

    Every piece but the last is at least 0.6 of `longest`.
    """
    window, step = round(_PAUSE_SECONDS * SAMPLE_RATE), round(_STEP_SECONDS * SAMPLE_RATE)
    energy = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    cuts: list[int] = []
    begin = 0
    while len(audio) - begin > longest:
        first, last = begin + round(_EARLIEST_SHARE * longest), begin + longest
        middles = np.arange(last, first - 1, -step)  # backwards, so that the last of equal pauses is taken
        low, high = np.maximum(middles - window // 2, 0), np.minimum(middles + window // 2, len(audio))
        begin = int(middles[np.argmin((energy[high] - energy[low]) / (high - low))])
        cuts.append(begin)
    return cuts


def _cut(row: Row, max_duration_s: float) -> list[Row]:
    audio = read_segment(row["audio"], row["start"], row["end"])
    first = round(row["start"] * SAMPLE_RATE)
    edges = [
        row["start"],
        *((first + cut) / SAMPLE_RATE for cut in cut_at_pauses(audio, round(max_duration_s * SAMPLE_RATE))),
    ]
    return [
        row | {"utterance_id": f"{row['utterance_id']}#{number}", "start": start, "end": end}
        for number, (start, end) in enumerate(zip(edges, [*edges[1:], row["end"]], strict=True))
    ]


def _joined(name: str, parts: Sequence[Row]) -> Row:
    """An utterance's hypothesis from those of its pieces, in order; with a reflection if all pieces have one."""
    reflections = [parse_reflection(part["think"]) for part in parts if part["think"] is not None]
    known = [reflection for reflection in reflections if reflection is not None]
    transcript = " ".join(part["transcript"] for part in parts if part["transcript"])
    return {
        "utterance_id": name,
        "raw_text": " ".join(part["raw_text"] for part in parts),
        "language": next((part["language"] for part in parts if part["language"]), None),
        "transcript": transcript,
        "think": join_reflections(known) if len(known) == len(parts) else None,
        "tokens": sum(part["tokens"] for part in parts),
        "audio_tokens": sum(part["audio_tokens"] for part in parts),
        "stop_reason": max((part["stop_reason"] for part in parts), key=STOP_REASONS.index),
        "loop": any(part["loop"] for part in parts),
        "seconds": sum(part["seconds"] for part in parts),
        **({"first_pass": " ".join(part["first_pass"] for part in parts)} if "first_pass" in parts[0] else {}),
        **({"candidates": _joined_candidates(transcript, parts)} if "candidates" in parts[0] else {}),
    }


def _joined_candidates(transcript: str, parts: Sequence[Row]) -> list[str]:
    """The pieces' first candidates joined, then their second ones, and so on; last, if none is that, `transcript`.

    Each piece has chosen for itself, so what they chose may have different numbers. A piece with fewer candidates than
    others continues with what it chose.
    """
    most = max(len(part["candidates"]) for part in parts)
    padded = [[*part["candidates"], *[part["transcript"]] * (most - len(part["candidates"]))] for part in parts]
    joined = [" ".join(text for text in texts if text) for texts in zip(*padded, strict=True)]
    return joined if transcript in joined else [*joined, transcript]
