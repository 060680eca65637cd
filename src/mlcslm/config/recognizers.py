"""Ready recognisers in the configuration: models that transcribe without training here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcslm.config.base import Section

FamilyName = Literal[
    "whisper",
    "ctc",
    "transducer",
    "seq2seq",
    "voxtral",
    "granite_speech",
    "qwen3_asr",
    "cohere_asr",
    "vibevoice_asr",
    "moss_transcribe_diarize",
]


class RecognizerDecodingConfig(Section):
    """How a recogniser searches for its answer."""

    beams: int = Field(1, ge=1, description="beam size; 1: greedy search")
    max_new_tokens: int | None = Field(
        None, ge=1, description="maximum length of an answer, in tokens; none: the model's own (docs/recognizers.md)"
    )
    silence_s: float | None = Field(
        None,
        ge=0,
        le=30,
        description="Whisper: at least so many seconds of silence behind the speech, up to the next 5 s; none: up to "
        "30 s, as in training, which is slower (docs/recognizers.md)",
    )


class RecognizerConfig(Section):
    """A ready recogniser: a system like a checkpoint with a decoding (docs/recognizers.md)."""

    model: str = Field(
        min_length=1, description="hub id or folder; `remote-code:` before it lets Python code from its hub run"
    )
    kind: FamilyName | None = Field(None, description="family of the model; none: found from its config.json")
    revision: str | None = Field(None, description="with a hub id: branch, tag or commit")
    language: Literal["told", "found"] = Field(
        "told", description="told: the language of the utterance's group; found: by the model itself"
    )
    batch_size: int = Field(8, ge=1, description="utterances per batch")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 on a GPU that has it, else float32"
    )
    decoding: RecognizerDecodingConfig = Field(
        default_factory=RecognizerDecodingConfig, description="the search for an answer"
    )

    @property
    def decoding_name(self) -> str:
        """Second half of the system's name.

        >>> RecognizerConfig(model="openai/whisper-base", decoding={"beams": 5}).decoding_name
        'beam-5'
        """
        return "greedy" if self.decoding.beams == 1 else f"beam-{self.decoding.beams}"
