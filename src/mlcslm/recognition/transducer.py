"""Transducers: Parakeet RNN-T and TDT, and what else transformers lists for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForRNNT, AutoModelForTDT, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_TDT_MAPPING_NAMES

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.errors import UserError
from mlcslm.recognition.loading import KIND, Source
from mlcslm.recognition.recognizer import Answer, Recognizer, quiet


def load(source: Source, decoding: RecognizerDecodingConfig) -> Transducer:
    """The transducer at `source`. Raises UserError for a beam search, which transformers does not have for them."""
    if decoding.beams > 1:
        raise UserError(f"{KIND} {source.name}: is a transducer, which is decoded greedily; remove decoding.beams.")
    auto = AutoModelForTDT if source.config.model_type in MODEL_FOR_TDT_MAPPING_NAMES else AutoModelForRNNT
    return Transducer(source.model(auto), source.processor(AutoProcessor), decoding)


class Transducer(Recognizer):
    """A transducer: answers end with the audio."""

    can_be_told = False

    def __init__(self, model: Any, processor: Any, decoding: RecognizerDecodingConfig) -> None:
        super().__init__(model, decoding)
        self.processor = processor

    def prepare(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """Features with their attention mask."""
        return dict(self.processor(list(audio), sampling_rate=SAMPLE_RATE, return_tensors="pt"))

    @torch.inference_mode()
    def answer(self, prepared: dict[str, Any]) -> list[Answer]:
        """Greedy search."""
        given = self.to_device(prepared)
        with quiet():
            generated = self.model.generate(**given)
        generated = getattr(generated, "sequences", generated)
        frames = self.model.encoder._get_subsampling_output_length(given["attention_mask"].sum(-1)).tolist()
        return [self._answer(ids, count) for ids, count in zip(generated.tolist(), frames, strict=True)]

    def _answer(self, ids: list[int], frames: int) -> Answer:
        """The answer that `ids` spell, with blanks and padding; frames: of the utterance itself.

        One that does not advance is truncated, whatever it is batched with, where it would be alone.
        """
        config = self.model.config
        while ids and ids[-1] == config.pad_token_id:
            ids.pop()
        limit = config.max_symbols_per_step * frames
        kept = [token for token in ids[:limit] if token not in (config.blank_token_id, config.pad_token_id)]
        text = self.processor.tokenizer.decode(kept, skip_special_tokens=True, group_tokens=False)
        return Answer(text.strip(), text, kept, len(ids) < limit)
