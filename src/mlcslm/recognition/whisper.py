"""Whisper: word for word what transformers' own `generate` answers, with each utterance encoded once.

Shapes: B utterances, M mel bins, F mel frames (100 per second; 3,000 are the model's window), T encoder frames (50 per
second), d encoder width.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.modeling_outputs import BaseModelOutput

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.decoding.loops import has_loop
from mlcslm.recognition.loading import Source
from mlcslm.recognition.recognizer import Answer, Recognizer, cut_answer, end_tokens, quiet

WINDOW_STEP_S = 5.0
"""Windows shorter than the model's own are multiples of this, so that utterances of similar length share a batch."""
TOKENS_PER_SECOND = 40
"""Longest answers to windows shorter than the model's own: above fast speech in scripts that take a token per byte."""


@dataclass(frozen=True)
class Part:
    """Utterances of a batch that share a window of so many mel `frames`.

    indices: in the batch; features: log-mel spectrograms of the model's own window (B, M, 3000); languages: told.
    """

    indices: list[int]
    frames: int
    features: torch.Tensor
    languages: list[str | None]

    def whole(self, indices: Collection[int]) -> Part | None:
        """Those of `indices` that are among its own, in the model's own window; None if there are none."""
        places = [place for place, index in enumerate(self.indices) if index in indices]
        chosen = [self.indices[place] for place in places], [self.languages[place] for place in places]
        features = self.features[places]
        return Part(chosen[0], features.shape[2], features, chosen[1]) if places else None


def load(source: Source, decoding: RecognizerDecodingConfig) -> Whisper:
    """The Whisper checkpoint at `source`."""
    return Whisper(source.model(WhisperForConditionalGeneration), source.processor(WhisperProcessor), decoding)


class Whisper(Recognizer):
    """A Whisper checkpoint; the language is told or found by the model.

    Audio is padded to 30 s, as in training, or with `decoding.silence_s` to a window that depends on its own length
    only, so that batches change nothing.
    """

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

    def prepare(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[Part]:
        """Log-mel spectrograms and languages, by window."""
        extracted = self.processor.feature_extractor(list(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        features = extracted["input_features"]
        windows = [self.window_s(len(one) / SAMPLE_RATE) for one in audio]
        parts = []
        for window in sorted(set(windows), reverse=True):
            chosen = [index for index, one in enumerate(windows) if one == window]
            frames = round(features.shape[2] * window / self.longest_s)
            parts.append(Part(chosen, frames, features[chosen], [languages[index] for index in chosen]))
        return parts

    def window_s(self, seconds: float) -> float:
        """Seconds that the encoder hears of an utterance of `seconds`, silence behind it included."""
        if self.decoding.silence_s is None:
            return self.longest_s
        wanted = math.ceil((seconds + self.decoding.silence_s) / WINDOW_STEP_S) * WINDOW_STEP_S
        return min(max(wanted, WINDOW_STEP_S), self.longest_s)

    def answer(self, prepared: list[Part]) -> list[Answer]:
        """Greedy or beam search; the language token is part of the prompt, and so of no answer.

        With less silence than in training, some answers repeat themselves without end: those utterances are heard again
        in the model's own window.
        """
        answers = self._answers(prepared)
        shortened = {index for part in prepared if part.frames < part.features.shape[2] for index in part.indices}
        failed = {index for index in shortened if not answers[index].ended or has_loop(answers[index].ids)}
        answers |= self._answers([whole for part in prepared if (whole := part.whole(failed))])
        return [answers[index] for index in sorted(answers)]

    def _answers(self, parts: Sequence[Part]) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        for part in parts:
            states = self.encode(part.features[:, :, : part.frames])
            answers |= zip(part.indices, self.search(states, part.languages), strict=True)
        return answers

    @torch.inference_mode()
    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Encoder outputs (B, T, d) of log-mel spectrograms (B, M, F) that are as long as the window, or shorter."""
        features = features.to(self.model.device, self.model.dtype)
        encoder = self.model.model.encoder
        if features.shape[2] == self.processor.feature_extractor.nb_max_frames:
            whole: torch.Tensor = encoder(features).last_hidden_state
            return whole
        # transformers' own forward refuses any other length; the layers don't mind.
        hidden = torch.nn.functional.gelu(encoder.conv1(features))
        hidden = torch.nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        states: torch.Tensor = encoder.layer_norm(hidden)
        return states

    @torch.inference_mode()
    def search(self, states: torch.Tensor, languages: Sequence[str | None]) -> list[Answer]:
        """Answers to encoder outputs (B, T, d), each in its language, found where it is None."""
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
        limit = self._limit(states.shape[1])
        if limit < self._longest_answer or self.decoding.max_new_tokens is not None:
            options["max_new_tokens"] = limit
        with quiet():
            generated = self.model.generate(
                encoder_outputs=encoded, num_beams=self.decoding.beams, return_timestamps=False, **options
            )
        return [
            self._answer(ids, language if self._multilingual else "en", limit)
            for ids, language in zip(generated.tolist(), languages, strict=True)
        ]

    def _answer(self, ids: list[int], language: str | None, limit: int) -> Answer:
        ids, _ = cut_answer(ids, end_tokens(self.model), self.model.generation_config.pad_token_id)
        tokenizer = self.processor.tokenizer
        text = tokenizer.decode(ids, skip_special_tokens=True)
        # `generate` leaves out end tokens: an answer is truncated if it has as many tokens as it may have.
        return Answer(text.strip(), tokenizer.decode(ids), ids, len(ids) < limit, language)

    def _limit(self, frames: int) -> int:
        """Most tokens that an answer to so many encoder frames may have, by default as many as fit behind the prompt.

        A shorter window holds fewer words, and an answer that repeats itself without end then costs less.
        """
        if self.decoding.max_new_tokens is not None:
            return self.decoding.max_new_tokens
        seconds = frames / self.model.config.max_source_positions * self.longest_s
        return min(self._longest_answer, round(TOKENS_PER_SECOND * seconds))

    @property
    def _longest_answer(self) -> int:
        prompt = 4 if self._multilingual else 2
        return int(self.model.generation_config.max_length or self.model.config.max_target_positions) - prompt
