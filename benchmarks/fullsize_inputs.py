"""Synthetic utterances: noise of a given length, random words of a given number of tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from foundation import byte_tokenizer
from torch.utils.data import Dataset
from transformers import GenerationConfig, WhisperFeatureExtractor

from mlcslm.config.languages import Group
from mlcslm.model.processor import IGNORED_LABEL, SpeechProcessor, add_tokens
from mlcslm.model.projector import SAMPLE_RATE
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.plan.micro_batch import Lengths

_WORDS = slice(2, 200)  # ids of text, after the tokenizer's end and padding tokens


def processor_of(model: SpeechLLM, groups: dict[str, Group]) -> SpeechProcessor:
    """A processor with a small tokenizer, whose ids are the first of the model's rows."""
    tokenizer = byte_tokenizer([group.prompt for group in groups.values()])
    added = add_tokens(tokenizer, groups)
    encoder = model.model.encoder
    processor = SpeechProcessor(
        tokenizer,
        WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins),
        groups,
        max_mel_frames=encoder.max_mel_frames,
    )
    model.config.audio_token_id, model.config.added_tokens = processor.audio_token_id, added
    return processor


def never_ends(model: SpeechLLM, processor: SpeechProcessor) -> None:
    """Make answers run to their limit and contain no placeholder: random weights would end them anywhere."""
    model.generation_config = GenerationConfig(
        eos_token_id=processor.end_token_id,
        pad_token_id=processor.pad_token_id,
        suppress_tokens=[processor.audio_token_id, processor.end_token_id],
    )


class Utterances(Dataset[dict[str, Any]]):
    """`count` utterances of equal lengths: examples like `UtteranceDataset`'s, prompts like `PromptDataset`'s."""

    def __init__(self, processor: SpeechProcessor, lengths: Lengths, count: int, group: str, seed: int) -> None:
        self.processor = processor
        self.count = count
        self.group = group
        self.samples = max(1, round(lengths.seconds * SAMPLE_RATE))
        self._rng = np.random.default_rng(seed)
        words = np.arange(len(processor.tokenizer))[_WORDS]
        audio = [processor.audio_token_id] * processor.audio_token_count(self.samples)
        self._prompt = [*self._rng.choice(words, lengths.prompt).tolist(), *audio]
        self._answer = [*self._rng.choice(words, lengths.answer - 1).tolist(), processor.end_token_id]

    def __len__(self) -> int:
        return self.count

    @property
    def lengths(self) -> list[float]:
        """Each utterance's seconds."""
        return [self.samples / SAMPLE_RATE] * self.count

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        example = {"input_ids": self._prompt + self._answer}
        example["labels"] = [IGNORED_LABEL] * len(self._prompt) + self._answer
        return example | self.audio()

    def prompt(self, key: tuple[int, int]) -> dict[str, Any]:
        """The model's prompt and its audio."""
        return {"input_ids": list(self._prompt)} | self.audio()

    def audio(self) -> dict[str, torch.Tensor]:
        """`input_features` (M, F) of fresh noise."""
        noise = self._rng.standard_normal(self.samples).astype("float32") * 0.1
        return {"input_features": self.processor.log_mel([noise])[0][0]}


class Prompts(Utterances):
    """As `Utterances`; indexing gives what rewards are computed from, without audio."""

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return {"prompt": "", "key": key, "utterance_id": str(key[1]), "reference": "a", "unit": "word"}

    def target(self, key: tuple[int, int]) -> list[int]:
        """An answer to learn from."""
        return list(self._answer)
