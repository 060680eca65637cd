"""Cohere ASR: an encoder-decoder whose prompt names the language, which it cannot find itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
from transformers.models.cohere_asr.processing_cohere_asr import LANGUAGES

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.recognition.generating import GeneratingRecognizer
from mlcslm.recognition.loading import Source

_FALLBACK = "en"


def load(source: Source, decoding: RecognizerDecodingConfig) -> CohereAsr:
    """The Cohere ASR checkpoint at `source`."""
    return CohereAsr(source.model(AutoModelForSpeechSeq2Seq), source.processor(AutoProcessor), decoding)


class CohereAsr(GeneratingRecognizer):
    """Cohere ASR; utterances of a language that it does not know, or of none, are heard as English."""

    has_prompt = False

    def knows(self, language: str) -> bool:
        """Whether it is one of the model's fourteen languages."""
        return language in LANGUAGES

    def parts(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[list[int]]:
        """One part per language: the prompt is the same for all that is heard at once."""
        return [[i for i, one in enumerate(languages) if one == language] for language in dict.fromkeys(languages)]

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """Features and the decoder's prompt."""
        found = self.processor(list(audio), language=languages[0] or _FALLBACK, sampling_rate=SAMPLE_RATE)
        return {name: value for name, value in dict(found).items() if name != "audio_chunk_index"}
