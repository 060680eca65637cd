"""Granite Speech: a chat model with an audio placeholder in its prompt. Its features need torchaudio."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import Audio
from mlcslm.errors import UserError
from mlcslm.recognition.generating import GeneratingRecognizer, by_one
from mlcslm.recognition.loading import KIND, Source

PROMPT = "can you transcribe the speech into a written format?"
"""As its model card asks."""


def load(source: Source, decoding: RecognizerDecodingConfig) -> GraniteSpeech:
    """The Granite Speech checkpoint at `source`. Raises UserError if torchaudio is missing."""
    if importlib.util.find_spec("torchaudio") is None:
        raise UserError(f"{KIND} {source.name}: its features need torchaudio: pip install torchaudio")
    return GraniteSpeech(source.model(AutoModelForSpeechSeq2Seq), source.processor(AutoProcessor), decoding)


class GraniteSpeech(GeneratingRecognizer):
    """Granite Speech, which hears each utterance by itself: its encoder is given no mask."""

    can_be_told = False

    def parts(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[list[int]]:
        """One utterance each."""
        return by_one(audio)

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """The chat prompt with audio."""
        messages = [{"role": "user", "content": f"{self.processor.audio_token}{PROMPT}"}]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        given = self.processor(text, torch.from_numpy(audio[0]).unsqueeze(0), return_tensors="pt")
        return {name: value for name, value in dict(given).items() if name != "audio_embed_sizes"}
