"""Log-mel features of utterances to be decoded: read by a thread while the model is busy with the batch before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from mlcslm.corpus.audio import Audio, read_segment
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.model.distortions import augmentation_rng
from mlcslm.model.processor import SpeechProcessor

_NOISE_STREAM = 2**32 - 1  # no training pass has this number, so a model never trained on this noise

Row = dict[str, Any]


@dataclass(frozen=True)
class Noise:
    """Noise added to audio before decoding: `augmenter`, with a random stream per (seed, utterance)."""

    augmenter: Augmenter
    seed: int

    def __call__(self, samples: Audio, utterance_id: str) -> Audio:
        """The samples with noise, same length."""
        return self.augmenter(samples, augmentation_rng(self.seed, _NOISE_STREAM, utterance_id))


@dataclass(frozen=True)
class Features:
    """Log-mel features (M, F) of an utterance, and how many audio tokens it costs."""

    log_mel: torch.Tensor
    audio_tokens: int


class FeatureReader:
    """Reads utterances, adds `noise` and computes features: on request, or ahead in one thread of its own.

    Reading and the transforms release Python's global lock, so that they do not slow the model's thread down.
    """

    def __init__(self, processor: SpeechProcessor, noise: Noise | None = None) -> None:
        self._processor = processor
        self._noise = noise
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read ahead")
        self._ahead: dict[str, Future[Features]] = {}

    def prepare(self, rows: Iterable[Row]) -> None:
        """Have manifest rows read in the background, in this order; each is kept until it is requested."""
        for row in rows:
            if row["utterance_id"] not in self._ahead:
                self._ahead[row["utterance_id"]] = self._thread.submit(self._features, row)

    def __call__(self, rows: Sequence[Row]) -> list[Features]:
        """Features of manifest rows. Raises here what reading one of them has raised in the background."""
        return [
            self._ahead.pop(name).result() if (name := row["utterance_id"]) in self._ahead else self._features(row)
            for row in rows
        ]

    def _features(self, row: Row) -> Features:
        samples = read_segment(row["audio"], row["start"], row["end"])
        if self._noise is not None:
            samples = self._noise(samples, row["utterance_id"])
        log_mel, _ = self._processor.log_mel([samples])
        return Features(log_mel[0], self._processor.audio_token_count(len(samples)))
