"""Qwen3-ASR: a chat model that answers `language NAME<asr_text>transcript`, or the transcript if it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.recognition.generating import GeneratingRecognizer, padded
from mlcslm.recognition.loading import Source

_TAG = "<asr_text>"
_CODES = {name.casefold(): code for code, name in LANGUAGE_CODE_TO_NAME.items()}


def load(source: Source, decoding: RecognizerDecodingConfig) -> Qwen3Asr:
    """The Qwen3-ASR checkpoint at `source`."""
    return Qwen3Asr(source.model(AutoModelForSpeechSeq2Seq), source.processor(AutoProcessor), decoding)


class Qwen3Asr(GeneratingRecognizer):
    """Qwen3-ASR, asked as its processor asks it."""

    def knows(self, language: str) -> bool:
        """Whether it is one of the model's thirty languages."""
        return language in LANGUAGE_CODE_TO_NAME

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """Chat prompts with audio; a language that is told begins the answer.

        Features are computed by utterance: those of silence behind a shorter one would change its last second.
        """
        requests = [
            self.processor.apply_transcription_request(
                [one], language=[language], processor_kwargs={"sampling_rate": SAMPLE_RATE}
            )
            for one, language in zip(audio, languages, strict=True)
        ]
        fills = {"input_ids": self.tokenizer.pad_token_id}
        return {
            name: padded(
                [one[name] for one in requests], fills.get(name, 0), left=name in ("input_ids", "attention_mask")
            )
            for name in requests[0]
        }

    def read(self, raw: str, language: str | None) -> tuple[str, str | None, bool]:
        """The text behind `<asr_text>`; without it all of the answer, which is malformed if no language was told."""
        head, tag, text = raw.partition(_TAG)
        if not tag:
            return raw, language, language is not None
        name = head.strip().removeprefix("language").strip().casefold()
        return text, language or _CODES.get(name), True
