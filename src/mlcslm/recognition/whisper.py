"""Whisper: word for word what transformers' own `generate` answers, with each utterance encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.modeling_outputs import BaseModelOutput

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.recognition.loading import Source
from mlcslm.recognition.recognizer import Answer, Recognizer, cut_answer, end_tokens, quiet


def load(source: Source, decoding: RecognizerDecodingConfig) -> Whisper:
    """The Whisper checkpoint at `source`."""
    return Whisper(source.model(WhisperForConditionalGeneration), source.processor(WhisperProcessor), decoding)


class Whisper(Recognizer):
    """A Whisper checkpoint. Audio is padded to 30 s, as in training; the language is told or found by the model."""

    def __init__(self, model: Any, processor: Any, decoding: RecognizerDecodingConfig) -> None:
        super().__init__(model, decoding)
        self.processor = processor
        settings = model.generation_config
        # A model of English alone has no language tokens, and is told neither language nor task.
        self._languages: dict[str, int] = {
            token.strip("<|>"): number for token, number in (getattr(settings, "lang_to_id", None) or {}).items()
        }
        self._multilingual = bool(getattr(settings, "is_multilingual", False)) and bool(self._languages)
        self.longest_s = processor.feature_extractor.n_samples / SAMPLE_RATE

    def knows(self, language: str) -> bool:
        """Whether there is a token for it; a model of English alone knows `en`."""
        return language in self._languages if self._multilingual else language == "en"

    def prepare(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> tuple[Any, list[str | None]]:
        """Log-mel spectrograms (B, mels, 3000) and the languages."""
        features = self.processor.feature_extractor(list(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return features["input_features"], list(languages)

    def answer(self, prepared: tuple[Any, list[str | None]]) -> list[Answer]:
        """Greedy or beam search; the language token is part of the prompt, and so of no answer."""
        features, languages = prepared
        return self.search(self.encode(features), languages)

    @torch.inference_mode()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Encoder outputs (B, 1500, d) of log-mel spectrograms (B, mels, 3000)."""
        features = features.to(self.model.device, self.model.dtype)
        states: torch.Tensor = self.model.model.encoder(features).last_hidden_state
        return states

    @torch.inference_mode()
    def search(self, states: torch.Tensor, languages: Sequence[str | None]) -> list[Answer]:
        """Answers to encoder outputs (B, 1500, d), each in its language, found where it is None."""
        encoded = BaseModelOutput(last_hidden_state=states)
        options: dict[str, Any] = {}
        if self._multilingual:
            # `generate` would run the encoder a second time to find the language.
            codes = {number: code for code, number in self._languages.items()}
            found = (
                [codes[number] for number in self.model.detect_language(encoder_outputs=encoded).tolist()]
                if None in languages
                else languages
            )
            languages = [told or heard for told, heard in zip(languages, found, strict=True)]
            options = {"language": [f"<|{code}|>" for code in languages], "task": "transcribe"}
        if self.decoding.max_new_tokens is not None:
            options["max_new_tokens"] = self.decoding.max_new_tokens
        with quiet():
            generated = self.model.generate(
                encoder_outputs=encoded, num_beams=self.decoding.beams, return_timestamps=False, **options
            )
        return [
            self._answer(ids, language if self._multilingual else "en")
            for ids, language in zip(generated.tolist(), languages, strict=True)
        ]

    def _answer(self, ids: list[int], language: str | None) -> Answer:
        ids, _ = cut_answer(ids, end_tokens(self.model), self.model.generation_config.pad_token_id)
        tokenizer = self.processor.tokenizer
        text = tokenizer.decode(ids, skip_special_tokens=True)
        # `generate` leaves out end tokens: an answer is truncated if it has as many tokens as it may have.
        return Answer(text.strip(), tokenizer.decode(ids), ids, len(ids) < self._limit, language)

    @property
    def _limit(self) -> int:
        """Most tokens that an answer may have, by default as many as fit behind the prompt."""
        prompt = 4 if self._multilingual else 2
        longest = self.model.generation_config.max_length or self.model.config.max_target_positions
        return self.decoding.max_new_tokens or longest - prompt
