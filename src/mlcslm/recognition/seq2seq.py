"""Encoder-decoder recognisers without a module of their own: Speech2Text, Moonshine and others of transformers'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.recognition.generating import GeneratingRecognizer, by_one
from mlcslm.recognition.loading import Source


def load(source: Source, decoding: RecognizerDecodingConfig) -> Seq2Seq:
    """The model at `source`, with what its processor makes of audio alone, and no prompt of its own."""
    return Seq2Seq(source.model(AutoModelForSpeechSeq2Seq), source.processor(AutoProcessor), decoding)


class Seq2Seq(GeneratingRecognizer):
    """Hears each utterance by itself: in most of these models padding changes what is heard."""

    can_be_told = False
    has_prompt = False

    def parts(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[list[int]]:
        """One utterance each."""
        return by_one(audio)

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """Features, and an attention mask where the model has one."""
        return dict(self.processor(list(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=True))
