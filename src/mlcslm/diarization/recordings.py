"""Diarization of files, outside the workflow: from a path to turns, with one speaker a channel or all on one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.corpus.media import mean_channel, read_channels
from mlcslm.diarization.pipeline import Diarizer
from mlcslm.diarization.vad import Detector, VoiceActivityDetector, make_detector
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment, Utterance

Channels = Literal["mean", "speakers"]
PUBLIC_EMBEDDING = "models/campplus"
"""Where the presets expect public CAM++: no hub of plain files has it (docs/embeddings.md)."""


@dataclass(frozen=True)
class DiarizedRecording:
    """A recording and who speaks when in it.

    name: of one word, for files; channels: 16 kHz audio that the turns are of, one or one a speaker; turns: in order.
    """

    path: Path
    name: str
    seconds: float
    channels: list[Audio]
    turns: list[Segment]

    def utterances(self) -> list[Utterance]:
        """The turns, without words."""
        return [Utterance(self.name, turn.speaker, turn.start, turn.end, "") for turn in self.turns]


def load_diarizer(
    embedding: str | Path = PUBLIC_EMBEDDING,
    *,
    network: str = "campplus",
    vad: Detector = "silero",
    vad_model: str | None = None,
    max_segment_s: float = 8.0,
    num_speakers: int | None = None,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
    overlap: bool = False,
    seed: int = 0,
) -> Diarizer:
    """A diarizer of public or trained parts; embedding: file, folder or hub id of a `network`'s weights.

    overlap: with vad "segmentation", also write the second speaker where two speak at once.

    Raises UserError for weights that are not there or are another network's, and for impossible numbers of speakers.
    """
    from mlcslm.speaker_embedding.embedding import load_embedder

    if num_speakers is not None and (min_speakers is not None or max_speakers is not None):
        raise UserError("The number of speakers and bounds for it: expected one or the other.")
    if min_speakers is not None and max_speakers is not None and min_speakers > max_speakers:
        raise UserError(f"At least {min_speakers} and at most {max_speakers} speakers: impossible.")
    if overlap and vad != "segmentation":
        raise UserError(f"Only the detector segmentation hears two at once, but the detector is {vad}.")
    if not Path(embedding).exists() and (str(embedding) == PUBLIC_EMBEDDING or str(embedding).startswith((".", "/"))):
        raise UserError(
            f"speaker embedding {embedding}: no such file or folder. Download CAM++'s weights "
            "(iic/speech_campplus_sv_zh_en_16k-common_advanced, docs/embeddings.md) and name their folder: --embedding."
        )
    return Diarizer(
        detector=make_detector(vad, max_segment_s, vad_model),
        embedder=load_embedder(embedding, network),
        num_speakers=num_speakers,
        min_speakers=min_speakers,
        max_speakers=max_speakers,
        overlap=overlap,
        seed=seed,
    )


def diarize_file(
    path: Path, diarizer: Diarizer | VoiceActivityDetector, channels: Channels = "mean"
) -> DiarizedRecording:
    """Who speaks when in a recording (wav, flac, mp3, ogg, m4a).

    channels: "mean" hears all of them as one, and a diarizer tells speakers apart; with "speakers" each is a speaker,
    S1 on the first, whose speech alone is looked for, so that a detector is enough; these turns may overlap. Raises
    UserError where the file cannot be read.
    """
    audio = read_channels(path)
    name = "_".join(path.stem.split()) or "recording"
    seconds = len(audio[0]) / SAMPLE_RATE
    if channels == "mean":
        if not isinstance(diarizer, Diarizer):
            raise ValueError("speakers on one channel need a Diarizer, not only a detector")
        mono = mean_channel(path, audio)
        return DiarizedRecording(path, name, seconds, [mono], diarizer(mono))
    detector = diarizer.detector if isinstance(diarizer, Diarizer) else diarizer
    if len(audio) == 1:
        raise UserError(f"{path}: has one channel, expected one for each speaker. Leave --channels speakers out.")
    turns = [
        Segment(found.start, found.end, f"S{number}")
        for number, channel in enumerate(audio, start=1)
        if np.any(channel)
        for found in detector(channel)
    ]
    return DiarizedRecording(path, name, seconds, audio, sorted(turns))
