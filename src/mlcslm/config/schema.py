"""The configuration of a run: one class a section, a description a field; what is unknown or impossible is refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlcslm.config.base import Name, Section
from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.diarization import DiarizerConfig, EmbeddingConfig, SpeakerCorpusConfig
from mlcslm.config.options import ReportConfig, ResourcesConfig, TrackingConfig
from mlcslm.config.stages import AnyStageConfig
from mlcslm.config.systems import SystemConfig, SystemName

Split = Literal["train", "dev", "test"]


class DemoCorpusConfig(Section):
    """Size of the demo corpus, which espeak-ng speaks."""

    train_sessions: int = Field(
        12, ge=1, description="training conversations a group, on average: a language of many groups has fewer in each"
    )
    dev_sessions: int = Field(2, ge=1, description="dev conversations a group, unseen voices and sentences")
    test_sessions: int = Field(2, ge=1, description="test conversations a group, other unseen voices and sentences")
    turns_per_session: int = Field(16, ge=2, description="utterances a conversation")
    noises: int = Field(24, ge=1, description="generated noises for augmentation, four seconds each")
    room_responses: int = Field(24, ge=1, description="generated room impulse responses for augmentation")


class CorpusConfig(Section):
    """Where the conversations come from."""

    kind: Literal["demo", "folder"] = Field(
        "demo", description="demo: made here with espeak-ng; folder: MLC-SLM layout"
    )
    demo: DemoCorpusConfig = Field(default_factory=DemoCorpusConfig, description="size of the demo corpus")
    folders: dict[Split, str] = Field(default_factory=dict, description="with kind folder: the folder of each split")
    skip_faulty: bool = Field(
        False, description="leave out faulty lines and sessions instead of stopping; they are recorded"
    )
    channels: Literal["ask", "mean"] = Field(
        "ask", description="recordings with a speaker on each channel: ask stops and names them, mean reads the mean"
    )

    @model_validator(mode="after")
    def _folders_are_given(self) -> CorpusConfig:
        if self.kind == "folder" and (missing := {"train", "dev", "test"} - set(self.folders)):
            raise ValueError(f"kind is 'folder' but folders lacks {', '.join(sorted(missing))}")
        return self


class AugmentationConfig(Section):
    """Additive noise or reverberation of training samples (paper, section 2.3)."""

    probability: float = Field(0.7, ge=0, le=1, description="share of training samples that are augmented")
    noise: str | None = Field(None, description="folder of noises (MUSAN); none: the demo corpus's own, or no noise")
    room_responses: str | None = Field(None, description="folder of room impulse responses (SLR28); none: as for noise")
    snr_db: tuple[float, float] = Field((0.0, 15.0), description="lowest and highest signal-to-noise ratio, in dB")
    cached_variants: int = Field(
        2, ge=1, description="with cached encoder outputs: differently augmented copies of each training sample"
    )

    @model_validator(mode="after")
    def _snr_is_a_range(self) -> AugmentationConfig:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db is {list(self.snr_db)}: expected the lowest first")
        return self


class LoraConfig(Section):
    """Low-rank adapters on all linear layers of the language model and of the encoder (paper, section 3.3)."""

    rank: int = Field(16, ge=1, description="rank")
    alpha: int = Field(32, ge=1, description="alpha; the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in front of the adapters")


class ModelsConfig(Section):
    """The foundation models and what joins them."""

    encoder: str = Field(description="Whisper checkpoint: hub id or folder")
    language_model: str = Field(description="causal language model: hub id or folder")
    encoder_window: Literal["true_length", "full"] = Field(
        "true_length", description="true_length: as many frames as the utterance has; full: Whisper's 30 s window"
    )
    projector_hidden: int = Field(2048, ge=1, description="width of the projector's hidden layer")
    lora: LoraConfig = Field(default_factory=LoraConfig, description="low-rank adapters")


class ReasoningConfig(Section):
    """The reasoning data: hypotheses of the training set, whose errors the model is taught to name and correct."""

    checkpoint: Name | Annotated[tuple[Name, ...], Field(min_length=2)] = Field(
        "ckpt-7000",
        description="checkpoint whose hypotheses are corrected (paper, section 3.4); or as many as there are folds, "
        "each of which decodes the sessions that it was not trained on",
    )
    decoding: Name = Field("greedy", description="decoding of the training set; a sampling one makes worse hypotheses")
    snr_db: tuple[float, float] | None = Field(
        None,
        description="decode with noise or reverberation of this range, so that as many errors are made as on unseen "
        "speech; none: the paper's plain way",
    )
    max_details: int = Field(6, ge=1, description="errors that a reflection names at most, of each type")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that decode the training set, in the order of their folds where there are several."""
        return (self.checkpoint,) if isinstance(self.checkpoint, str) else self.checkpoint


class ScoringConfig(Section):
    """How hypotheses are scored."""

    protocol: Literal["mlcslm-2025", "whisper-norm"] = Field("mlcslm-2025", description="text normalisation")
    normalise_hypothesis: bool = Field(
        False, description="normalise hypotheses as references are; named in the results"
    )
    bootstrap_samples: int = Field(1000, ge=100, description="bootstrap samples over sessions for the 95 % intervals")


class Config(Section):
    """A whole run. `config/demo.yaml` and `config/small.yaml` are two of them."""

    preset: str = Field("custom", description="name of the preset, for readers of the results")
    results: str = Field("results", min_length=1, description="folder of everything that is made")
    seed: int = Field(17, ge=0, description="seed of everything that is drawn")
    languages: str = Field("config/languages.tsv", description="the languages table")
    tables: str = Field("config/tables.yaml", description="the tables' rows and published numbers")
    corpus: CorpusConfig = Field(default_factory=CorpusConfig, description="the conversations")
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig, description="noise and reverberation")
    models: ModelsConfig = Field(description="the foundation models")
    stages: dict[Name, AnyStageConfig] = Field(
        min_length=1, description="training stages by checkpoint name: a tree by parent"
    )
    decodings: dict[Name, DecodingConfig] = Field(min_length=1, description="decodings by name")
    reasoning: ReasoningConfig = Field(default_factory=ReasoningConfig, description="the reasoning data")
    speaker_corpora: dict[Name, SpeakerCorpusConfig] = Field(
        default_factory=dict, description="further speakers for embeddings that are trained here, by name"
    )
    embeddings: dict[Name, EmbeddingConfig] = Field(default_factory=dict, description="speaker embeddings by name")
    diarizers: dict[Name, DiarizerConfig] = Field(default_factory=dict, description="diarizers (Track 2) by name")
    systems: dict[SystemName, SystemConfig] = Field(default_factory=dict, description="systems of others by name")
    scoring: ScoringConfig = Field(default_factory=ScoringConfig, description="scoring")
    report: ReportConfig = Field(default_factory=ReportConfig, description="the report")
    tracking: TrackingConfig = Field(default_factory=TrackingConfig, description="experiment trackers")
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig, description="jobs")

    @model_validator(mode="after")
    def _stages_form_a_tree(self) -> Config:
        if "foundation" in self.stages:
            raise ValueError("stages.foundation: that name stands for the pretrained models; take another")
        for name, stage in self.stages.items():
            lineage = [name]
            while (parent := self.stages[lineage[-1]].parent) != "foundation":
                if parent not in self.stages:
                    raise ValueError(f"stages.{lineage[-1]}.parent is {parent!r}: no such stage (nor 'foundation')")
                if parent in lineage:
                    raise ValueError(f"stages.{name}: its parents form a circle, {' -> '.join([*lineage, parent])}")
                lineage.append(parent)
            if "encoder_lora" in stage.trains and "lm_lora" not in stage.trains:
                raise ValueError(f"stages.{name}.trains has encoder_lora without lm_lora; the paper adapts both")
        return self

    @model_validator(mode="after")
    def _reasoning_data_can_be_made(self) -> Config:
        if not any(map(self.needs_reasoning_data, self.stages)):
            return self
        if self.reasoning.decoding not in self.decodings:
            raise ValueError(f"reasoning.decoding is {self.reasoning.decoding!r}: no such decoding")
        checkpoints = self.reasoning.checkpoints
        for number, name in enumerate(checkpoints):
            if name not in self.stages:
                raise ValueError(f"reasoning.checkpoint has {name!r}: no such stage")
            if needing := next(filter(self.needs_reasoning_data, self.lineage(name)), None):
                raise ValueError(
                    f"reasoning.checkpoint has {name!r}: it comes after {needing}, which needs its hypotheses"
                )
            expected = (number, len(checkpoints)) if len(checkpoints) > 1 else None
            if (found := getattr(self.stages[name], "fold", None)) != expected:
                raise ValueError(
                    f"reasoning.checkpoint has {name!r}, whose fold is {found}; expected {expected}: a single one is "
                    "trained on all sessions, of several each leaves out one of as many folds"
                )
        return self

    @model_validator(mode="after")
    def _diarizers_name_what_there_is(self) -> Config:
        for name, diarizer in self.diarizers.items():
            for key, found, known in (
                ("embedding", diarizer.embedding, self.embeddings),
                ("asr.checkpoint", diarizer.asr.checkpoint, self.stages),
                ("asr.decoding", diarizer.asr.decoding, self.decodings),
            ):
                if found not in known:
                    raise ValueError(f"diarizers.{name}.{key} is {found!r}; expected one of {', '.join(known)}")
        return self

    @model_validator(mode="after")
    def _systems_have_names_of_their_own(self) -> Config:
        if taken := sorted(set(self.systems) & {*self.diarizers, *self.stages}):
            raise ValueError(f"systems.{taken[0]}: a diarizer or stage has that name; take another")
        return self

    @model_validator(mode="after")
    def _embeddings_name_what_there_is(self) -> Config:
        for name, embedding in self.embeddings.items():
            if unknown := [corpus for corpus in embedding.corpora if corpus not in self.speaker_corpora]:
                raise ValueError(
                    f"embeddings.{name}.training.corpora has {unknown[0]!r}; expected some of speaker_corpora: "
                    f"{', '.join(self.speaker_corpora) or 'there are none'}"
                )
        return self

    def needs_reasoning_data(self, checkpoint: str) -> bool:
        """Whether a stage is trained on reflections: a supervised one with template reasoning."""
        stage = self.stages[checkpoint]
        return stage.kind == "supervised" and stage.template == "reasoning"

    def lineage(self, checkpoint: str) -> list[str]:
        """`checkpoint` and its ancestors, nearest first, without the foundation."""
        names = [checkpoint]
        while (parent := self.stages[names[-1]].parent) != "foundation":
            names.append(parent)
        return names

    def encoder_is_frozen(self, checkpoint: str) -> bool:
        """Whether `checkpoint` and all its ancestors leave the encoder as the foundation gave it."""
        return all("encoder_lora" not in self.stages[name].trains for name in self.lineage(checkpoint))
