"""What every family of recognisers has in common: audio in, answers out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import logging

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import Audio


@dataclass(frozen=True)
class Answer:
    """What a recogniser answered to one utterance.

    text: the transcript; raw: the whole answer; ids: its token ids, without the prompt; ended: whether it ended by
    itself, not at the limit; language: ISO 639-1 code, if the model names it; well_formed: whether the answer has the
    form that the family's answers have.
    """

    text: str
    raw: str
    ids: Sequence[int]
    ended: bool
    language: str | None = None
    well_formed: bool = True


class Recognizer(ABC):
    """A loaded recogniser: `prepare` on the CPU, perhaps beside the model, then `answer`.

    Batches change only the speed: an utterance has the same answer alone.
    """

    longest_s: float = 30.0
    """Longer utterances are split at pauses."""

    can_be_told: bool = True
    """Whether the family can be told a language at all; if not, nothing is said about languages it does not know."""

    def __init__(self, model: Any, decoding: RecognizerDecodingConfig) -> None:
        self.model = model
        self.decoding = decoding

    @property
    def parameters(self) -> int:
        """Number of the model's parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def knows(self, language: str) -> bool:
        """Whether the model can be told that it hears `language`, an ISO 639-1 code."""
        return False

    @abstractmethod
    def prepare(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> Any:
        """The model's input for a batch: audio at 16 kHz, and the language of each that it is told, if any."""

    @abstractmethod
    def answer(self, prepared: Any) -> list[Answer]:
        """An answer per utterance, in order."""

    def to_device(self, tensors: Any) -> dict[str, Any]:
        """Tensors by name on the model's device, floating-point ones in its precision."""
        return {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in dict(tensors).items()
        }


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' warnings, which come again with every batch and are about its own defaults."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def cut_answer(ids: Sequence[int], ends: Sequence[int], padding: int | None) -> tuple[list[int], bool]:
    """Generated `ids` up to their end token, and whether there is one; a row of a batch is padded behind it.

    >>> cut_answer([5, 6, 2, 0, 0], [2], 0), cut_answer([5, 6, 7], [2], 0)
    (([5, 6], True), ([5, 6, 7], False))
    """
    ids = list(ids)
    first = next((at for at, one in enumerate(ids) if one in ends), None)
    if first is not None:
        return ids[:first], True
    while ids and padding is not None and ids[-1] == padding:
        ids.pop()
    return ids, False


def end_tokens(model: Any) -> list[int]:
    """Tokens at which a model's answer ends, by its generation configuration."""
    found = model.generation_config.eos_token_id
    return [] if found is None else [found] if isinstance(found, int) else list(found)
