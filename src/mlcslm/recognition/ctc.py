"""Models with a CTC head: Wav2Vec2, HuBERT, WavLM, Parakeet CTC and whatever else transformers lists for CTC."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import AutoModelForCTC, AutoProcessor

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.errors import UserError
from mlcslm.recognition.loading import KIND, Source
from mlcslm.recognition.recognizer import Answer, Recognizer


def load(source: Source, decoding: RecognizerDecodingConfig) -> Ctc:
    """The CTC model at `source`. Raises UserError for a beam search: only the most probable path is looked for."""
    if decoding.beams > 1:
        raise UserError(f"{KIND} {source.name}: is a CTC model, which is decoded greedily; remove decoding.beams.")
    return Ctc(source.model(AutoModelForCTC), source.processor(AutoProcessor), decoding)


class Ctc(Recognizer):
    """A CTC model with its most probable path: repeated tokens merged, blanks dropped.

    Only a model that is given an attention mask ignores padding; any other hears each utterance by itself.
    """

    can_be_told = False

    def __init__(self, model: Any, processor: Any, decoding: RecognizerDecodingConfig) -> None:
        super().__init__(model, decoding)
        self.processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)

    def prepare(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[dict[str, Any]]:
        """Input of each part of the batch that the model hears at once."""
        options = {"sampling_rate": SAMPLE_RATE, "return_tensors": "pt", "padding": True}
        whole = self.processor(list(audio), **options)
        if "attention_mask" in whole:
            return [dict(whole)]
        return [dict(self.processor([one], **options)) for one in audio]

    @torch.inference_mode()
    def answer(self, prepared: list[dict[str, Any]]) -> list[Answer]:
        """Each utterance's most probable path."""
        return [answer for part in prepared for answer in self._answers(self.to_device(part))]

    def _answers(self, inputs: dict[str, Any]) -> list[Answer]:
        frames = self.model(**inputs).logits.argmax(-1)
        counts = self._counts(inputs.get("attention_mask"), frames.shape[1]) or [frames.shape[1]] * len(frames)
        return [self._answer(row[:count]) for row, count in zip(frames.tolist(), counts, strict=True)]

    def _counts(self, mask: torch.Tensor | None, longest: int) -> list[int] | None:
        """Output frames of each utterance; None if all of them count."""
        if mask is None:
            return None
        if hasattr(self.model, "_get_output_attention_mask"):
            found = self.model._get_output_attention_mask(mask, target_length=longest).sum(-1)
        else:
            found = self.model._get_feat_extract_output_lengths(mask.sum(-1)).clamp(max=longest)
        counts: list[int] = found.tolist()
        return counts

    def _answer(self, frames: list[int]) -> Answer:
        blank = self.model.config.pad_token_id
        ids = [token for token, _ in groupby(frames) if token != blank]
        # Tokenizers merge repeated tokens themselves, for which they need the blanks between them.
        text = self._tokenizer.decode(frames, skip_special_tokens=True, group_tokens=True)
        return Answer(text.strip(), text, ids, ended=True)
