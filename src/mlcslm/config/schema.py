"""The configuration of a run: one class per section, a description per field; rejects what is unknown or impossible."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mlcslm.config.base import ExtendedSection, Name, Rate, Section, Share
from mlcslm.config.decoding import CtcConfig, DecodingConfig
from mlcslm.config.diarization import DiarizerConfig, EmbeddingConfig, SpeakerCorpusConfig
from mlcslm.config.options import EnginesConfig, ReportConfig, ResourcesConfig, TrackingConfig
from mlcslm.config.recipes import RecipeConfig
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.config.stages import AnyStageConfig, CheckpointFirstPass, FirstPass
from mlcslm.config.systems import SystemConfig, SystemName

Split = Literal["train", "dev", "test"]


DemoGaps = Literal["conversation", "pauses"]
"""What lies between two utterances of the demo corpus."""


class DemoCorpusConfig(Section):
    """Size of the demo corpus, synthesised by espeak-ng."""

    train_sessions: int = Field(
        12, ge=1, description="training sessions per group on average; groups that share a language have fewer each"
    )
    dev_sessions: int = Field(2, ge=1, description="dev sessions per group, unseen voices and sentences")
    test_sessions: int = Field(2, ge=1, description="test sessions per group, other unseen voices and sentences")
    turns_per_session: int = Field(16, ge=2, description="utterances per session")
    gaps: DemoGaps = Field(
        "conversation",
        description="conversation: as in the challenge's dev set, without overlap, at speaker changes 0.14 s (median), "
        "14 % of the time silent, and one utterance in nine shorter than a second; pauses: 0.45 s on average, and one "
        "turn in ten overlaps the one before",
    )
    noises: int = Field(24, ge=1, description="noises generated for augmentation, four seconds each")
    room_responses: int = Field(24, ge=1, description="room impulse responses generated for augmentation")


class CorpusConfig(Section):
    """Where the conversations come from."""

    kind: Literal["demo", "folder"] = Field(
        "demo",
        description="demo: synthesised with espeak-ng; folder: existing data in the MLC-SLM layout, Kaldi's or "
        "Lhotse's, or recordings with transcripts beside them",
    )
    demo: DemoCorpusConfig = Field(default_factory=DemoCorpusConfig, description="size of the demo corpus")
    folders: dict[Split, str] = Field(
        default_factory=dict,
        description="the folder of each split. With kind folder, `train` is needed only to train, and without `test`, "
        "Tables 6 and 7 show dev only; with kind demo, a split named here is read from there instead",
    )
    language: str | None = Field(
        None,
        description="language of folders of recordings with transcripts beside them (TextGrid, ELAN, SRT, …): a BCP-47 "
        "code such as de or en-US, or a group's name; other layouts say it themselves",
    )
    skip_faulty: bool = Field(False, description="skip faulty lines and sessions, and list them, instead of stopping")
    channels: Literal["ask", "mean"] = Field(
        "ask", description="recordings with a speaker on each channel: ask stops and names them, mean reads the mean"
    )

    turns_s: float | None = Field(
        None,
        gt=0,
        description="longest whole turns, in seconds, for stages with `turns`: utterances of one speaker that follow "
        "each other, as a diarizer's segments hold them; none: single utterances only",
    )

    @model_validator(mode="after")
    def _dev_is_given(self) -> CorpusConfig:
        if self.kind == "folder" and "dev" not in self.folders:
            raise ValueError(
                "kind is 'folder', but folders lacks dev, on which all tables are measured (hold some sessions out of "
                "train). Only test may be missing, and train where nothing is trained"
            )
        return self

    def generated(self, split: str) -> bool:
        """Whether the split is the demo's own, and not read from a folder."""
        return self.kind == "demo" and split not in self.folders

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are, in order."""
        every: tuple[Split, ...] = ("train", "dev", "test")
        return every if self.kind == "demo" else tuple(split for split in every if split in self.folders)


class AugmentationConfig(ExtendedSection):
    """Additive noise or reverberation of training samples (paper, section 2.3), and what the paper lacks."""

    off: ClassVar[frozenset[str]] = frozenset(
        {
            *("speeds", "time_masks", "time_mask_frames", "time_mask_share"),
            *("frequency_masks", "frequency_mask_mels", "language_temperature"),
            "order",
        }
    )

    probability: float = Field(0.7, ge=0, le=1, description="share of training samples that are augmented")
    noise: str | None = Field(None, description="folder of noises (MUSAN); none: the demo corpus's, or no noise")
    room_responses: str | None = Field(
        None, description="folder of room impulse responses (SLR28); none: as for `noise`"
    )
    snr_db: tuple[float, float] = Field((0.0, 15.0), description="lowest and highest signal-to-noise ratio, in dB")
    cached_variants: int = Field(
        2, ge=1, description="with cached encoder outputs: number of differently augmented copies per training sample"
    )
    boundaries_s: float = Field(
        0.0,
        ge=0,
        description="move half of all starts and ends outwards, by up to this many seconds, as a diarizer does; drawn "
        "anew for each cached copy, or in each pass",
    )
    speeds: tuple[Rate, ...] = Field(
        (),
        description="speeds to draw from for each training sample, such as [0.9, 1.0, 1.1]; tempo and pitch change "
        "together. Empty: as recorded. Not with template `diarized`, whose answers have times",
    )
    time_masks: int = Field(
        0,
        ge=0,
        description="SpecAugment: number of stretches of the log-mel features that are replaced by their mean; drawn "
        "anew for each cached copy, or in each pass, as all of these",
    )
    time_mask_frames: int = Field(50, ge=1, description="longest of these stretches, in frames of 10 ms")
    time_mask_share: Share = Field(0.2, description="longest of them, as a share of the utterance")
    frequency_masks: int = Field(
        0, ge=0, description="SpecAugment: number of bands of the log-mel features that are replaced by their mean"
    )
    frequency_mask_mels: int = Field(15, ge=1, description="widest of these bands, in mel bins")
    order: Literal["onwards", "anew"] = Field(
        "onwards",
        description="onwards: a stage goes on in the training set where its parent ended; anew: every stage begins "
        "with the same utterances, and if none takes as many steps as a pass has, the last are never learnt",
    )
    language_temperature: float = Field(
        1.0,
        gt=0,
        description="T: languages are drawn in proportion to n^(1/T), n being their utterances; above 1, those with "
        "fewer are drawn more often than they are, 1: as often",
    )

    @model_validator(mode="after")
    def _snr_is_a_range(self) -> AugmentationConfig:
        if self.snr_db[0] > self.snr_db[1]:
            raise ValueError(f"snr_db is {list(self.snr_db)}: expected [lowest, highest]")
        return self

    def of_sound(self) -> dict[str, Any]:
        """What a sample sounds like depends on these, and cached outputs with it; not on which samples are drawn."""
        return self.model_dump(mode="json", exclude={"order", "language_temperature"})


class LoraConfig(Section):
    """Low-rank adapters on all linear layers of the language model and the encoder (paper, section 3.3)."""

    rank: int = Field(16, ge=1, description="rank")
    alpha: int = Field(32, ge=1, description="alpha; the update is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapters")


class ModelsConfig(Section):
    """The foundation models, and what is added to them."""

    encoder: str = Field("", description="Whisper checkpoint: hub id or folder; required if there are stages")
    language_model: str = Field("", description="causal language model: hub id or folder; likewise")
    encoder_window: Literal["true_length", "full"] = Field(
        "true_length", description="true_length: the utterance's own frames; full: padded to Whisper's 30 s window"
    )
    projector_hidden: int = Field(2048, ge=1, description="width of the projector's hidden layer")
    lora: LoraConfig = Field(default_factory=LoraConfig, description="low-rank adapters")


class ReasoningConfig(Section):
    """The reasoning data: hypotheses for the training set whose errors the model learns to name and correct."""

    checkpoint: Name | Annotated[tuple[Name, ...], Field(min_length=2)] = Field(
        "ckpt-7000",
        description="checkpoint whose hypotheses are corrected (paper, section 3.4); or one per fold, each decoding "
        "the sessions that it was not trained on",
    )
    decoding: Name = Field("greedy", description="decoding of the training set; sampling gives worse hypotheses")
    snr_db: tuple[float, float] | None = Field(
        None,
        description="decode with noise or reverberation in this range, so that there are as many errors as on unseen "
        "speech; none: clean, as in the paper",
    )
    max_details: int = Field(6, ge=1, description="maximum number of errors of each type that a reflection names")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints that decode the training set, in fold order if there are several."""
        return (self.checkpoint,) if isinstance(self.checkpoint, str) else self.checkpoint


class ScoringConfig(Section):
    """How hypotheses are scored."""

    protocol: Literal["mlcslm-2025", "whisper-norm"] = Field("mlcslm-2025", description="text normalisation")
    normalise_hypothesis: bool = Field(False, description="normalise hypotheses like references; the results say so")
    bootstrap_samples: int = Field(
        1000, ge=100, description="random exchanges of two systems' sessions in the test of their difference"
    )


class Config(Section):
    """A whole run, such as `config/demo.yaml`."""

    preset: str = Field("custom", description="name of the preset, for readers of the results")
    results: str = Field("results", min_length=1, description="folder for all outputs")
    seed: int = Field(17, ge=0, description="seed of all random draws")
    languages: str = Field("config/languages.tsv", description="the languages table")
    tables: str = Field("config/tables.yaml", description="the tables' rows and published numbers")
    corpus: CorpusConfig = Field(default_factory=CorpusConfig, description="the conversations")
    augmentation: AugmentationConfig = Field(default_factory=AugmentationConfig, description="noise and reverberation")
    models: ModelsConfig = Field(default_factory=ModelsConfig, description="the foundation models")
    stages: dict[Name, AnyStageConfig] = Field(
        default_factory=dict,
        description="training stages by checkpoint name; their parents form a tree. Empty: nothing is trained",
    )
    decodings: dict[Name, DecodingConfig] = Field(
        default_factory=dict, description="decodings by name; required if there are stages"
    )
    engines: EnginesConfig = Field(default_factory=EnginesConfig, description="engines of decodings")
    ctc: CtcConfig = Field(
        default_factory=CtcConfig, description="CTC heads, which weigh candidates of a consensus and hear first passes"
    )
    reasoning: ReasoningConfig = Field(default_factory=ReasoningConfig, description="the reasoning data")
    speaker_corpora: dict[Name, SpeakerCorpusConfig] = Field(
        default_factory=dict, description="further speakers to train embeddings on, by name"
    )
    embeddings: dict[Name, EmbeddingConfig] = Field(default_factory=dict, description="speaker embeddings by name")
    diarizers: dict[Name, DiarizerConfig] = Field(default_factory=dict, description="diarizers (Track 2) by name")
    recognizers: dict[SystemName, RecognizerConfig] = Field(
        default_factory=dict, description="ready recognisers by name"
    )
    systems: dict[SystemName, SystemConfig] = Field(default_factory=dict, description="external systems by name")
    recipes: dict[Name, RecipeConfig] = Field(default_factory=dict, description="rows of Table 8 by name, in order")
    scoring: ScoringConfig = Field(default_factory=ScoringConfig, description="scoring")
    report: ReportConfig = Field(default_factory=ReportConfig, description="the report")
    tracking: TrackingConfig = Field(default_factory=TrackingConfig, description="experiment trackers")
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig, description="jobs")

    @model_validator(mode="after")
    def _stages_have_what_they_need(self) -> Config:
        if self.stages:
            if missing := [key for key in ("encoder", "language_model") if not getattr(self.models, key)]:
                raise ValueError(f"models.{missing[0]}: required, as there are stages; expected a hub id or a folder")
            if not self.decodings:
                raise ValueError("decodings: required, as there are stages; expected at least one, such as greedy: {}")
        elif not (self.recognizers or self.systems):
            raise ValueError("expected stages, recognizers or systems: there is nothing to measure")
        trained = bool(self.stages) or any(one.training for one in self.embeddings.values())
        if trained and self.corpus.kind == "folder" and "train" not in self.corpus.folders:
            raise ValueError("corpus.folders lacks train, from which stages and embeddings learn; add its folder")
        return self

    @model_validator(mode="after")
    def _turns_are_made(self) -> Config:
        for name, stage in self.stages.items():
            if getattr(stage, "turns", False) and self.corpus.turns_s is None:
                raise ValueError(
                    f"stages.{name}.turns: corpus.turns_s, the longest turn in seconds, is missing; add it"
                )
        return self

    @model_validator(mode="after")
    def _stages_form_a_tree(self) -> Config:
        if "foundation" in self.stages:
            raise ValueError("stages.foundation: the name is reserved for the pretrained models; choose another")
        for name, stage in self.stages.items():
            lineage = [name]
            while (parent := self.stages[lineage[-1]].parent) != "foundation":
                if parent not in self.stages:
                    raise ValueError(
                        f"stages.{lineage[-1]}.parent is {parent!r}: expected another stage or 'foundation'"
                    )
                if parent in lineage:
                    raise ValueError(f"stages.{name}: its parents form a cycle, {' -> '.join([*lineage, parent])}")
                lineage.append(parent)
            if "encoder_lora" in stage.trains and "lm_lora" not in stage.trains:
                raise ValueError(f"stages.{name}.trains has encoder_lora but not lm_lora; add it")
        return self

    @model_validator(mode="after")
    def _reasoning_data_are_possible(self) -> Config:
        if not any(map(self.needs_training_hypotheses, self.stages)):
            return self
        if self.reasoning.decoding not in self.decodings:
            raise ValueError(
                f"reasoning.decoding is {self.reasoning.decoding!r}; expected one of {', '.join(self.decodings)}"
            )
        self._check_decoded("reasoning.checkpoint", self.reasoning.checkpoints)
        for name in self.reasoning.checkpoints:
            if needing := next(filter(self.needs_training_hypotheses, self.lineage(name)), None):
                raise ValueError(
                    f"reasoning.checkpoint names {name!r}, but {needing}, from which it is trained, needs its "
                    "hypotheses; name an earlier stage"
                )
        return self

    def _check_decoded(self, key: str, checkpoints: tuple[str, ...]) -> None:
        """Raise ValueError unless `key` may name these: one stage, or the stages of all folds in order."""
        for number, name in enumerate(checkpoints):
            if name not in self.stages:
                raise ValueError(f"{key} names {name!r}; expected one of {', '.join(self.stages)}")
            expected = (number, len(checkpoints)) if len(checkpoints) > 1 else None
            if (found := getattr(self.stages[name], "fold", None)) != expected:
                raise ValueError(
                    f"{key} names {name!r}, whose fold is {found}; expected {expected}: a single "
                    "checkpoint is trained on all sessions, each of several leaves out its own fold"
                )
            if self.first_passes(name):
                raise ValueError(
                    f"{key} names {name!r}, whose prompts have a first pass, which itself would be of speech that was "
                    "trained on; name another stage"
                )

    @model_validator(mode="after")
    def _first_passes_are_heard(self) -> Config:
        for name, stage in self.stages.items():
            if stage.kind == "reinforcement" and self.first_passes(stage.parent):
                raise ValueError(
                    f"stages.{name}.parent is {stage.parent!r}, whose prompts have a first pass; those of "
                    "reinforcement stages have none; name another parent"
                )
            for one in self.checkpoint_first_passes(name):
                self._check_decoded(f"stages.{name}.first_pass.checkpoint", (one.checkpoint,))
                self._check_decoded(f"stages.{name}.first_pass.folds", one.folds)
                found = self.decodings.get(one.decoding)
                if found is None or found.needs_ctc_head or found.context != "none":
                    suited = [key for key, each in self.decodings.items() if not each.needs_ctc_head]
                    suited = [key for key in suited if self.decodings[key].context == "none"]
                    raise ValueError(
                        f"stages.{name}.first_pass.decoding is {one.decoding!r}; expected one without context and CTC "
                        f"head: {', '.join(suited) or '(none)'}"
                    )
        for name in self.stages:
            if reading := next((one for one in self.read_by(name) if name in self.needed(one)), None):
                raise ValueError(
                    f"stages.{name} learns from hypotheses of {reading}, which is trained from it; name another stage"
                )
        for key, diarizer in self.diarizers.items():
            for one in self.checkpoint_first_passes(diarizer.asr.checkpoint or ""):
                raise ValueError(
                    f"diarizers.{key}.asr.checkpoint is {diarizer.asr.checkpoint!r}, whose prompts have what "
                    f"{one.checkpoint} answers to the same utterance; of a diarizer's segments there is none, so name "
                    f"another stage, such as {one.checkpoint}"
                )
        return self

    @model_validator(mode="after")
    def _diarizers_refer_to_existing_names(self) -> Config:
        for name, diarizer in self.diarizers.items():
            for key, found, known in (
                ("embedding", diarizer.embedding, self.embeddings),
                ("asr.checkpoint", diarizer.asr.checkpoint, self.stages),
                ("asr.decoding", diarizer.asr.decoding, self.decodings),
                ("asr.recognizer", diarizer.asr.recognizer, self.recognizers),
            ):
                if found is not None and found not in known:
                    names = ", ".join(known) or "(none)"
                    raise ValueError(f"diarizers.{name}.{key} is {found!r}; expected one of {names}")
            stage = self.stages.get(diarizer.asr.checkpoint or "")
            template = stage.template if stage else None
            if (diarizer.stretch_s is not None) != (template == "diarized"):
                raise ValueError(
                    f"diarizers.{name}: stretch_s is {diarizer.stretch_s}, and the template of asr.checkpoint is "
                    f"{template!r}; expected both stretch_s and template 'diarized', or neither"
                )
        return self

    @model_validator(mode="after")
    def _recipes_refer_to_existing_names(self) -> Config:
        for name, recipe in self.recipes.items():
            others = {one: each for one, each in self.recipes.items() if one != name}
            for key, found, known in (
                ("checkpoint", recipe.checkpoint, self.stages),
                ("decoding", recipe.decoding, self.decodings),
                ("control", recipe.control, others),
            ):
                if found is not None and found not in known:
                    names = ", ".join(known) or "(none)"
                    raise ValueError(f"recipes.{name}.{key} is {found!r}; expected one of {names}")
            for one, each in others.items():
                if (each.checkpoint, each.decoding) == (recipe.checkpoint, recipe.decoding):
                    raise ValueError(f"recipes.{name} is the same system as recipes.{one}; remove one")
        return self

    @model_validator(mode="after")
    def _system_names_are_unique(self) -> Config:
        if taken := sorted(set(self.systems) & {*self.diarizers, *self.stages, *self.recognizers}):
            raise ValueError(
                f"systems.{taken[0]}: a diarizer, stage or recogniser already has that name; choose another"
            )
        if taken := sorted(set(self.recognizers) & {*self.diarizers, *self.stages}):
            raise ValueError(f"recognizers.{taken[0]}: a diarizer or stage already has that name; choose another")
        return self

    @model_validator(mode="after")
    def _systems_have_references(self) -> Config:
        for name, system in self.systems.items():
            if lacking := [split for split in system.files if split not in self.corpus.splits]:
                raise ValueError(f"systems.{name}.files.{lacking[0]}: the corpus has no such split; remove it")
        return self

    @model_validator(mode="after")
    def _embeddings_refer_to_existing_corpora(self) -> Config:
        for name, embedding in self.embeddings.items():
            if unknown := [corpus for corpus in embedding.corpora if corpus not in self.speaker_corpora]:
                raise ValueError(
                    f"embeddings.{name}.training.corpora names {unknown[0]!r}; expected names of speaker_corpora: "
                    f"{', '.join(self.speaker_corpora) or '(none)'}"
                )
        return self

    def needs_reasoning_data(self, checkpoint: str) -> bool:
        """Whether a stage is trained on reflections: supervised, with template `reasoning`."""
        stage = self.stages[checkpoint]
        return stage.kind == "supervised" and stage.template == "reasoning"

    def needs_training_hypotheses(self, checkpoint: str) -> bool:
        """Whether a stage learns from the training set's hypotheses: as reflections, or as context."""
        source = getattr(self.stages[checkpoint], "context_source", "references")
        return self.needs_reasoning_data(checkpoint) or source != "references"

    def first_passes(self, checkpoint: str) -> tuple[FirstPass, ...]:
        """Who heard an utterance before, in the prompts of a checkpoint; those of a recogniser have none."""
        return getattr(self.stages.get(checkpoint), "first_pass", ())

    def checkpoint_first_passes(self, checkpoint: str) -> list[CheckpointFirstPass]:
        """Those first passes in its prompts that are of other checkpoints."""
        return [one for one in self.first_passes(checkpoint) if isinstance(one, CheckpointFirstPass)]

    def hears_ctc(self, checkpoint: str) -> bool:
        """Whether a stage's prompts say what a CTC head hears."""
        return "ctc" in self.first_passes(checkpoint)

    def needs_ctc_head(self, checkpoint: str, decoding: str) -> bool:
        """Whether decoding a stage takes the CTC head on its encoder: for its prompts, or to judge candidates."""
        judged = checkpoint in self.stages and self.decodings[decoding].needs_ctc_head
        return judged or self.hears_ctc(checkpoint)

    def fold_count(self, checkpoint: str) -> int:
        """Parts of the training set of which a stage leaves one out, to decode it; 1: it decodes all."""
        fold = getattr(self.stages[checkpoint], "fold", None)
        return 1 if fold is None else fold[1]

    def read_by(self, checkpoint: str) -> list[str]:
        """Stages whose hypotheses a stage's prompts or reflections have, in training or in decoding."""
        found = [name for one in self.checkpoint_first_passes(checkpoint) for name in (one.checkpoint, *one.folds)]
        return [*found, *(self.reasoning.checkpoints if self.needs_training_hypotheses(checkpoint) else ())]

    def needed(self, checkpoint: str) -> list[str]:
        """`checkpoint` and all stages that it takes: its ancestors, those it reads, and theirs; in no fixed order."""
        found: dict[str, None] = {}
        waiting = [checkpoint]
        while waiting:
            if (name := waiting.pop()) not in found and name != "foundation":
                found[name] = None
                waiting += [self.stages[name].parent, *self.read_by(name)]
        return list(found)

    @property
    def decoded(self) -> list[tuple[str, str]]:
        """All Track 1 systems decoded here: (checkpoint, decoding), and for recognisers (name, its search)."""
        trained = [(checkpoint, decoding) for checkpoint in self.stages for decoding in self.decodings]
        return trained + [(name, one.decoding_name) for name, one in self.recognizers.items()]

    def transcriber(self, diarizer: str) -> tuple[str, str]:
        """The pair of `decoded` that transcribes a diarizer's segments."""
        asr = self.diarizers[diarizer].asr
        if asr.recognizer is not None:
            return asr.recognizer, self.recognizers[asr.recognizer].decoding_name
        assert asr.checkpoint is not None and asr.decoding is not None  # SegmentTranscriptionConfig checks it
        return asr.checkpoint, asr.decoding

    def lineage(self, checkpoint: str) -> list[str]:
        """`checkpoint` and its ancestors, nearest first, without the foundation."""
        names = [checkpoint]
        while (parent := self.stages[names[-1]].parent) != "foundation":
            names.append(parent)
        return names

    def encoder_of(self, checkpoint: str) -> str:
        """Whose encoder `checkpoint` has: the nearest of itself and its ancestors that trains it, else `foundation`."""
        owners = (name for name in self.lineage(checkpoint) if "encoder_lora" in self.stages[name].trains)
        return next(owners, "foundation")

    @property
    def standing_encoders(self) -> list[str]:
        """Encoders that at least one stage uses as they are (see `encoder_of`): their outputs are worth keeping."""
        return list(dict.fromkeys(owner for name in self.stages if (owner := self.encoder_of(name)) != name))
