"""Diarization of sessions: voice activity, windows, embeddings, clustering, resegmentation; turns as a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mlcslm.config.diarization import DiarizerConfig, EmbeddingConfig
from mlcslm.config.languages import Group
from mlcslm.corpus import manifest as corpus_manifest
from mlcslm.corpus.audio import SAMPLE_RATE, Audio, read_audio, read_header
from mlcslm.corpus.faults import Fault, FaultKind, describe_faults
from mlcslm.corpus.identifiers import utterance_id
from mlcslm.diarization.clustering import cluster
from mlcslm.diarization.overlap import with_second_speakers
from mlcslm.diarization.repetition import period_of
from mlcslm.diarization.resegmentation import PART_S, PART_STEP_S, clear_windows, resegment
from mlcslm.diarization.vad import OverlapDetector, VoiceActivityDetector, make_detector
from mlcslm.diarization.windows import quietest, turns_of, windows_of
from mlcslm.errors import FaultyInput, UserError
from mlcslm.formats.segments import Segment
from mlcslm.io.parquet import write_table
from mlcslm.runtime.progress import progress

if TYPE_CHECKING:
    from mlcslm.speaker_embedding.embedding import Parts

SEGMENTS_SCHEMA = pa.schema([pa.field("recording", pa.string(), nullable=False), *corpus_manifest.SCHEMA])
"""Turns as a manifest, readable wherever utterances are: `text` is null, `speaker` one of S1, S2, …"""


class WindowEmbedder(Protocol):
    """Computes vectors whose cosines measure how similar voices are."""

    def embed_windows(
        self, audio: Audio, windows: Sequence[tuple[float, float]], batch_size: int = 64
    ) -> npt.NDArray[np.float32]:
        """Embeddings (N, dim) of N windows (start, end in seconds) of a session's 16 kHz `audio`."""

    def embed_parts(
        self,
        audio: Audio,
        windows: Sequence[tuple[float, float]],
        length_s: float,
        step_s: float,
        batch_size: int = 64,
    ) -> tuple[npt.NDArray[np.float32], Parts]:
        """The same, and embeddings of the stretches of `length_s` every `step_s` seconds within each window."""


@dataclass(frozen=True)
class Diarizer:
    """Everything that turns a waveform into turns; all fields but the first two are those of `DiarizerConfig`."""

    detector: VoiceActivityDetector
    embedder: WindowEmbedder
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    keep_vad_boundaries: bool = True
    resegment: bool = True
    overlap: bool = False
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        """Raises UserError for overlap with a detector that does not find it."""
        if self.overlap and not isinstance(self.detector, OverlapDetector):
            raise UserError("Only the detector `segmentation` hears two at once: choose it, or leave overlap out.")

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Turns of a (samples,) float32 waveform at 16 kHz: in order, in milliseconds, of speakers S1, S2, …

        They are disjoint; with `overlap`, only those of each speaker are. Speakers are numbered in order of appearance.
        Silence gives no turns. The result depends on the waveform alone; if that repeats itself, its speakers are
        those of the first period.
        """
        if not (self.overlap and isinstance(self.detector, OverlapDetector)):
            return self._turns(waveform, self.detector(waveform))
        segments, overlaps = self.detector.with_overlaps(waveform)
        longest = self.detector.max_segment_s if self.keep_vad_boundaries else float("inf")
        return _numbered(with_second_speakers(self._turns(waveform, segments), overlaps, longest))

    def _turns(self, waveform: Audio, segments: list[Segment]) -> list[Segment]:
        """One speaker at a time, within the speech of `segments`."""
        windows = windows_of(segments)
        if not windows:
            return []
        spans = [(window.start, window.end) for window in windows]
        embeddings, parts = self._embed(waveform, spans)
        period = period_of(waveform)
        distinct = None if period is None else sum(window.start < period for window in windows)
        labels = cluster(
            embeddings,
            num_speakers=self.num_speakers,
            min_speakers=self.min_speakers,
            max_speakers=self.max_speakers,
            seed=self.seed,
            distinct=distinct,
            clear=None if parts is None else clear_windows(parts),
        )
        if parts is not None and labels.any():
            return resegment(
                segments,
                windows,
                labels,
                embeddings,
                parts,
                quietest=quietest(waveform),
                max_segment_s=self.detector.max_segment_s if self.keep_vad_boundaries else float("inf"),
            )
        return turns_of(
            windows,
            [f"S{label + 1}" for label in labels],
            keep_vad_boundaries=self.keep_vad_boundaries,
            change=quietest(waveform),
        )

    def _embed(
        self, waveform: Audio, spans: Sequence[tuple[float, float]]
    ) -> tuple[npt.NDArray[np.float32], Parts | None]:
        if self.resegment:
            return self.embedder.embed_parts(waveform, spans, PART_S, PART_STEP_S, self.batch_size)
        return self.embedder.embed_windows(waveform, spans, self.batch_size), None


def _numbered(turns: Sequence[Segment]) -> list[Segment]:
    """Speakers renamed S1, S2, … in order of appearance."""
    names: dict[str, str] = {}
    return [
        Segment(turn.start, turn.end, names.setdefault(turn.speaker, f"S{len(names) + 1}")) for turn in sorted(turns)
    ]


def make_diarizer(config: DiarizerConfig, embedding: EmbeddingConfig, trained: Path | None = None) -> Diarizer:
    """The diarizer that `config` describes; trained: folder of its embedding, unless that is a public checkpoint."""
    from mlcslm.speaker_embedding.embedding import load_embedder

    source = embedding.checkpoint or trained
    if source is None:
        raise ValueError(f"embedding {embedding.network}: neither a public checkpoint nor a folder of a trained one")
    size: dict[str, Any] = embedding.size
    return Diarizer(
        detector=make_detector(
            config.vad,
            config.max_segment_s,
            config.vad_model,
            onset=config.onset,
            offset=config.offset,
            min_pause_s=config.min_pause_s,
            min_speech_s=config.min_speech_s,
            padding_s=config.padding_s,
        ),
        embedder=load_embedder(source, embedding.network, **size),
        num_speakers=config.num_speakers,
        min_speakers=config.min_speakers,
        max_speakers=config.max_speakers,
        keep_vad_boundaries=config.keep_vad_boundaries,
        resegment=config.resegment,
        overlap=config.overlap,
        seed=config.seed,
        batch_size=embedding.batch_size,
    )


def diarize_manifest(
    manifest: Path,
    diarizer: Callable[[Audio], list[Segment]],
    languages: Mapping[str, Group],
    segments: Path,
    *,
    skip_faulty: bool = False,
) -> tuple[list[str], list[Fault]]:
    """Diarize the sessions of `manifest` and write all turns to `segments` (`SEGMENTS_SCHEMA`), in order.

    Returns the recordings that were diarized, including silent ones, and the faults of skipped ones. Sessions whose
    audio cannot be read all raise one FaultyInput before anything is computed, or are skipped with `skip_faulty`.
    """
    sessions = _sessions(manifest)
    faults = [fault for row in sessions if (fault := _fault(row["audio"]))]
    if faults and (not skip_faulty or len(faults) == len(sessions)):
        raise FaultyInput(f"{manifest}: {describe_faults(faults)}.", [str(fault) for fault in faults])
    skipped = {fault.path for fault in faults}
    diarized: list[str] = []
    rows: list[dict[str, Any]] = []
    with progress(len(sessions) - len(faults), f"diarizing {manifest.stem}", "session") as bar:
        for session in sessions:
            if session["audio"] in skipped:
                continue
            try:
                turns = diarizer(session_waveform(session["audio"]))
            except UserError as error:
                if not skip_faulty:
                    raise
                faults.append(_unreadable(session["audio"], error))
                continue
            diarized.append(session["session_id"])
            rows += _rows(session, turns, languages)
            bar.update()
    write_table(pa.Table.from_pylist(rows, schema=SEGMENTS_SCHEMA), segments)
    return diarized, faults


def _sessions(manifest: Path) -> list[dict[str, Any]]:
    """One row for each session, in the manifest's order."""
    table = corpus_manifest.read_manifest(manifest).select(["session_id", "grp", "audio", "sample_rate"])
    return list({row["session_id"]: row for row in reversed(table.to_pylist())}.values())[::-1]


def _fault(audio: str) -> Fault | None:
    try:
        read_header(audio)
    except UserError as error:
        return _unreadable(audio, error)
    return None


def _unreadable(audio: str, error: UserError) -> Fault:
    return Fault(audio, None, FaultKind.UNREADABLE_AUDIO, "session", str(error).removeprefix(f"{audio}: "))


def session_waveform(audio: str) -> Audio:
    """(samples,) of a session at 16 kHz. Raises UserError where the file cannot be read or has no numbers."""
    waveform = read_audio(audio, SAMPLE_RATE)
    if not np.isfinite(waveform).all():
        raise UserError(f"{audio}: contains samples that are not numbers. Copy the file again, or remove the session.")
    return waveform


def _rows(
    session: Mapping[str, Any], turns: Sequence[Segment], languages: Mapping[str, Group]
) -> Iterator[dict[str, Any]]:
    group = session["grp"]
    name = session["session_id"].removeprefix(f"{languages[group].recording_prefix}_")
    for number, turn in enumerate(turns):
        yield {
            **session,
            "recording": session["session_id"],
            "utterance_id": utterance_id(group, name, turn.speaker, turn.start, turn.end),
            "speaker": turn.speaker,
            "turn": number,
            "start": turn.start,
            "end": turn.end,
            "text": None,
        }
