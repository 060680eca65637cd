"""Voxtral: Mistral's transcription request, built by mistral-common."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.errors import UserError
from mlcslm.recognition.generating import GeneratingRecognizer
from mlcslm.recognition.loading import KIND, Source

_LANGUAGES = ("en", "es", "fr", "pt", "hi", "de", "nl", "it")


def load(source: Source, decoding: RecognizerDecodingConfig) -> Voxtral:
    """The Voxtral checkpoint at `source`. Raises UserError if mistral-common is missing."""
    if importlib.util.find_spec("mistral_common") is None:
        raise UserError(
            f"{KIND} {source.name}: its tokenizer needs mistral-common: pip install 'mistral-common[audio]'"
        )
    return Voxtral(source, decoding)


class Voxtral(GeneratingRecognizer):
    """Voxtral in its transcription mode."""

    def __init__(self, source: Source, decoding: RecognizerDecodingConfig) -> None:
        super().__init__(source.model(AutoModelForSpeechSeq2Seq), source.processor(AutoProcessor), decoding)
        self._name = source.name

    def knows(self, language: str) -> bool:
        """Whether its model card lists it; others are left to the model to find."""
        return language in _LANGUAGES

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """Transcription requests; audio is padded to multiples of 30 s."""
        request = self.processor.apply_transcription_request(
            audio=list(audio),
            language=list(languages),
            model_id=self._name,
            sampling_rate=SAMPLE_RATE,
            format=["WAV"] * len(audio),
        )
        return dict(request)
