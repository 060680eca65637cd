"""Diarization in the configuration: speaker embeddings and the diarizers that use them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mlcslm.config.base import ExtendedSection, Name, Rate, Section, Share

Size = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]

FSMN_MODEL = "iic/speech_fsmn_vad_zh-cn-16k-common-pytorch"
"""The public FSMN-VAD, on ModelScope."""
SEGMENTATION_MODEL = "pyannote/segmentation-3.0"
"""The public segmentation network, on the Hugging Face hub."""

PUBLIC_SIZES: dict[str, dict[str, int | tuple[int, ...]]] = {
    "campplus": {
        "embedding_size": 192,
        "channels": 128,
        "growth": 32,
        "bottleneck": 4,
        "blocks": (12, 24, 16),
        "head_channels": 32,
    },
    "eres2net": {
        "embedding_size": 192,
        "channels": 32,
        "blocks": (3, 4, 6, 3),
        "base_width": 32,
        "scale": 2,
        "expansion": 2,
    },
    "resnet101": {"embedding_size": 256, "channels": 32, "blocks": (3, 4, 23, 3)},
}
"""Arguments of each embedding network, and their values in its public checkpoint."""


class SpeakerCorpusConfig(Section):
    """A corpus of speakers on disk (CN-Celeb, VoxBlink) to train speaker embeddings on besides the training split."""

    folder: str = Field(min_length=1, description="folder of the unpacked corpus")
    speakers: str = Field(
        "*",
        min_length=1,
        description="pattern of the folders below `folder` that hold one speaker each; all wav and flac files in such "
        "a folder, at any depth, are that speaker's utterances",
    )
    source: str = Field("", description="where to get it; printed if the folder is missing")

    @model_validator(mode="after")
    def _speakers_are_below_the_folder(self) -> SpeakerCorpusConfig:
        parts = self.speakers.split("/")
        if "" in parts or ".." in parts or "**" in parts:
            raise ValueError(
                f"speakers is {self.speakers!r}: expected a pattern of folders below `folder`, such as `data/*`"
            )
        return self


class EmbeddingTrainingConfig(Section):
    """Training of a speaker embedding: additive angular margin softmax over speakers."""

    conversations: bool = Field(True, description="train on the speakers of the training split")
    corpora: tuple[Name, ...] = Field(
        (), description="also train on the speakers of these `speaker_corpora` (paper, section 2.3)"
    )
    steps: int = Field(ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1, description="crops of speech per step")
    sessions: int | None = Field(
        None, ge=1, description="number of sessions to train on, spread evenly over the training split; none: all"
    )
    learning_rate: Rate = Field(1e-3, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of AdamW")
    margin: float = Field(0.2, ge=0, description="angular margin, in radians")
    margin_warmup: Share = Field(0.5, description="share of the steps over which the margin rises from 0")
    scale: Rate = Field(32.0, description="factor applied to the cosines before the softmax")
    crop_s: Rate = Field(2.0, description="length of a crop, in seconds")
    speeds: tuple[Rate, ...] = Field(
        (0.9, 1.1), description="speed perturbations; each turns every speaker into a new one"
    )
    augmentation: Share = Field(0.5, description="share of the crops that get noise or reverberation")
    save_steps: int = Field(500, ge=1, description="steps between resumable states")

    @model_validator(mode="after")
    def _there_are_speakers(self) -> EmbeddingTrainingConfig:
        if not self.conversations and not self.corpora:
            raise ValueError("conversations is false and corpora is empty: there are no speakers to train on")
        if len(set(self.corpora)) < len(self.corpora):
            raise ValueError(f"corpora is {list(self.corpora)}: expected each only once")
        return self


class EmbeddingConfig(Section):
    """A speaker embedding: a public checkpoint, or a network trained by this workflow."""

    network: Literal["campplus", "eres2net", "resnet101"] = Field(description="architecture")
    checkpoint: str | None = Field(None, description="public checkpoint: hub id, folder or file; none: train it")
    size: dict[str, Size | tuple[Size, ...]] = Field(
        default_factory=dict, description="network arguments that differ from the public checkpoint's"
    )
    training: EmbeddingTrainingConfig | None = Field(None, description="how to train it; none: use `checkpoint`")
    batch_size: int = Field(64, ge=1, description="windows embedded at a time; results do not depend on it")

    @property
    def corpora(self) -> tuple[str, ...]:
        """The speaker corpora to train on; empty for a public checkpoint."""
        return self.training.corpora if self.training else ()

    @model_validator(mode="after")
    def _one_origin(self) -> EmbeddingConfig:
        if (self.checkpoint is None) == (self.training is None):
            raise ValueError("expected either checkpoint (a public one) or training, not both")
        return self

    @model_validator(mode="after")
    def _size_is_of_the_network(self) -> EmbeddingConfig:
        public = PUBLIC_SIZES[self.network]
        for key, value in self.size.items():
            if key not in public:
                raise ValueError(f"size.{key}: no such argument of {self.network}; expected one of {', '.join(public)}")
            default = public[key]
            expected = len(default) if isinstance(default, tuple) else 0
            if (len(value) if isinstance(value, tuple) else 0) != expected:
                numbers = f"{expected} numbers" if expected else "a number"
                raise ValueError(f"size.{key} of {self.network} is {value!r}; expected {numbers}")
        return self


class SegmentTranscriptionConfig(Section):
    """The Track 1 system that transcribes a diarizer's segments: a checkpoint with a decoding, or a recogniser."""

    checkpoint: Name | None = Field(None, description="name of the checkpoint")
    decoding: Name | None = Field(None, description="name of the decoding")
    recognizer: Name | None = Field(None, description="instead of these: name of the ready recogniser")

    @model_validator(mode="after")
    def _one_system(self) -> SegmentTranscriptionConfig:
        both = self.checkpoint is not None, self.decoding is not None
        if both != ((False, False) if self.recognizer is not None else (True, True)):
            raise ValueError("expected checkpoint and decoding, or recognizer")
        return self


class DiarizerConfig(ExtendedSection):
    """Who spoke what and when: voice activity, embeddings, clustering, transcription (paper, section 5)."""

    off: ClassVar[frozenset[str]] = frozenset({"overlap", "stretch_s"})

    vad: Literal["silero", "fsmn", "segmentation"] = Field(
        "silero",
        description="voice activity detector; fsmn, the paper's, needs the extra `fsmn`; segmentation also finds "
        "where speakers change",
    )
    vad_model: str | None = Field(
        None, description="with vad fsmn or segmentation: hub id or folder; none: the public model"
    )
    onset: Share | None = Field(
        None, description="probability at which speech begins; none: the detector's default (docs/diarization.md)"
    )
    offset: Share | None = Field(None, description="probability below which it ends; none: likewise")
    min_pause_s: Seconds | None = Field(None, description="shortest pause, in seconds; shorter ones are speech")
    min_speech_s: Seconds | None = Field(None, description="speech this short or shorter, in seconds, is dropped")
    padding_s: Seconds | None = Field(None, description="seconds added before and after each stretch of speech")
    max_segment_s: float = Field(8.0, ge=1, description="longest segment of the voice activity detector, in seconds")
    embedding: Name = Field(description="speaker embedding, one of `embeddings`")
    num_speakers: int | None = Field(
        None, ge=1, description="speakers per session, as far as they are told apart; none: estimated by the clustering"
    )
    min_speakers: int | None = Field(None, ge=1, description="fewest speakers per session; instead of `num_speakers`")
    max_speakers: int | None = Field(None, ge=1, description="most speakers per session; instead of `num_speakers`")
    keep_vad_boundaries: bool = Field(
        True,
        description="false: merge adjacent segments of the same speaker, as 3D-Speaker's recipe does, which undoes "
        "max_segment_s",
    )
    resegment: bool = Field(
        True,
        description="whether a second, finer pass finds where speakers change; false: between windows, as in the "
        "stock recipe",
    )
    overlap: bool = Field(
        False, description="with vad segmentation: also write the second speaker where two speak at once"
    )
    seed: int = Field(0, ge=0, description="seed of the clustering")
    stretch_s: float | None = Field(
        None,
        gt=0,
        le=30,
        description="longest stretch, in seconds, that asr.checkpoint, trained with template `diarized`, answers with "
        "speakers and times; none: embeddings tell speakers, and the segments are transcribed",
    )
    asr: SegmentTranscriptionConfig = Field(description="the system that transcribes the segments")

    @model_validator(mode="after")
    def _model_is_of_the_detector(self) -> DiarizerConfig:
        if self.vad == "silero" and self.vad_model is not None:
            raise ValueError(
                f"vad_model is {self.vad_model!r}, but vad is 'silero', whose package includes its weights"
            )
        return self

    @model_validator(mode="after")
    def _overlap_is_heard(self) -> DiarizerConfig:
        if self.overlap and (self.vad != "segmentation" or self.stretch_s is not None):
            found = f"vad is {self.vad!r}" if self.vad != "segmentation" else "stretch_s leaves turns to asr.checkpoint"
            raise ValueError(f"overlap needs vad 'segmentation' and turns from embeddings, but {found}")
        return self

    @model_validator(mode="after")
    def _stretches_are_answered(self) -> DiarizerConfig:
        if self.stretch_s is None:
            return self
        if self.asr.checkpoint is None:
            raise ValueError("stretch_s needs asr.checkpoint, a stage with template 'diarized'")
        if idle := [key for key in ("keep_vad_boundaries", "resegment") if not getattr(self, key)]:
            raise ValueError(f"{' and '.join(idle)} false with stretch_s: the answers say where turns end; remove")
        if self.max_segment_s > self.stretch_s:
            raise ValueError(f"max_segment_s is {self.max_segment_s:g}; expected at most stretch_s, {self.stretch_s:g}")
        return self

    @model_validator(mode="after")
    def _thresholds_are_possible(self) -> DiarizerConfig:
        if self.vad == "fsmn" and (self.onset is not None or self.offset is not None):
            raise ValueError("onset and offset need probabilities, but vad 'fsmn' answers with segments; remove them")
        if self.onset is not None and self.offset is not None and self.offset > self.onset:
            raise ValueError(f"offset is {self.offset}; expected at most onset, {self.onset}")
        return self

    @model_validator(mode="after")
    def _number_of_speakers_is_possible(self) -> DiarizerConfig:
        if self.num_speakers is not None and (self.min_speakers or self.max_speakers):
            raise ValueError("num_speakers is set, and min_speakers or max_speakers too; expected a number, or bounds")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            raise ValueError(f"min_speakers is {self.min_speakers}; expected at most max_speakers, {self.max_speakers}")
        return self
