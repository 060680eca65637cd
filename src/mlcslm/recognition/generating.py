"""What families have in common whose answer is generated token by token behind a prompt."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import Audio
from mlcslm.recognition.recognizer import Answer, Recognizer, cut_answer, end_tokens, quiet

MAX_NEW_TOKENS = 448
"""Length of an answer if none is configured: about what half a minute of speech takes, and Whisper's limit."""


class GeneratingRecognizer(Recognizer):
    """A model with transformers' `generate`, and its processor.

    Subclasses say what the model is given (`inputs`) and how its answers are read (`read`).
    """

    has_prompt = True
    """Whether `generate` returns the prompt (`input_ids`) before the answer; not if there is an encoder."""

    def __init__(self, model: Any, processor: Any, decoding: RecognizerDecodingConfig) -> None:
        super().__init__(model, decoding)
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        # transformers would warn in every batch that both limits are set.
        model.generation_config.max_length = None

    @abstractmethod
    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """What `generate` is given for utterances that it hears at once."""

    def parts(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[list[int]]:
        """Indices of the utterances that are heard at once: by default all of them."""
        return [list(range(len(audio)))]

    def read(self, raw: str, language: str | None) -> tuple[str, str | None, bool]:
        """Transcript, ISO 639-1 code of its language if known, and whether the answer `raw` has the usual form."""
        return raw, language, True

    def prepare(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[tuple[list[int], Any, Any]]:
        """For each of `parts`: its indices, inputs and languages."""
        return [
            (part, self.inputs([audio[i] for i in part], [languages[i] for i in part]), [languages[i] for i in part])
            for part in self.parts(audio, languages)
        ]

    @torch.inference_mode()
    def answer(self, prepared: list[tuple[list[int], Any, Any]]) -> list[Answer]:
        """Greedy or beam search."""
        answers: dict[int, Answer] = {}
        for part, inputs, languages in prepared:
            given = self.to_device(inputs)
            with quiet():
                generated = self.model.generate(
                    **given,
                    num_beams=self.decoding.beams,
                    do_sample=False,
                    max_new_tokens=self.decoding.max_new_tokens or MAX_NEW_TOKENS,
                )
            generated = getattr(generated, "sequences", generated)
            skipped = self._prompt_length(given)
            for index, ids, language in zip(part, generated[:, skipped:].tolist(), languages, strict=True):
                answers[index] = self._answer(ids, language)
        return [answers[index] for index in range(len(answers))]

    def _prompt_length(self, given: dict[str, Any]) -> int:
        name = "input_ids" if self.has_prompt else "decoder_input_ids"
        return given[name].shape[1] if name in given else 0 if self.has_prompt else 1

    def _answer(self, ids: list[int], language: str | None) -> Answer:
        ids, ended = cut_answer(ids, end_tokens(self.model), self.model.generation_config.pad_token_id)
        raw = self.tokenizer.decode(ids, skip_special_tokens=False)
        with quiet():
            text, heard, well_formed = self.read(self.tokenizer.decode(ids, skip_special_tokens=True), language)
        return Answer(text.strip(), raw, ids, ended, heard, well_formed)


def padded(tensors: Sequence[torch.Tensor], fill: float, *, left: bool) -> torch.Tensor:
    """Tensors (1, …, T) stacked as (B, …, longest T), filled on the left or on the right.

    >>> padded([torch.tensor([[1, 2]]), torch.tensor([[3]])], 0, left=True).tolist()
    [[1, 2], [0, 3]]
    """
    longest = max(one.shape[-1] for one in tensors)
    gaps = [longest - one.shape[-1] for one in tensors]
    sides = [(gap, 0) if left else (0, gap) for gap in gaps]
    return torch.cat([torch.nn.functional.pad(one, side, value=fill) for one, side in zip(tensors, sides, strict=True)])


def by_one(audio: Sequence[Audio]) -> list[list[int]]:
    """Parts of one utterance each, for models in which padding changes what is heard."""
    return [[index] for index in range(len(audio))]
