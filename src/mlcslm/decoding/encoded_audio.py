"""Encoder outputs of decoded utterances: each is computed once, however many decodings use it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlcslm.corpus.audio import Audio, read_segment
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.model.encoder_cache import EncoderCache, augmentation_rng
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM

_NOISE_STREAM = 2**32 - 1  # no training pass has this number, so a model never trained on this noise


@dataclass(frozen=True)
class Noise:
    """Noise added to audio before decoding: `augmenter`, with a random stream per (seed, utterance)."""

    augmenter: Augmenter
    seed: int

    def __call__(self, samples: Audio, utterance_id: str) -> Audio:
        """The samples with noise, same length."""
        return self.augmenter(samples, augmentation_rng(self.seed, _NOISE_STREAM, utterance_id))


@dataclass(frozen=True)
class Encoded:
    """Encoder frames (T, d) of an utterance, 50 per second, and how many audio tokens they become."""

    frames: torch.Tensor
    audio_tokens: int


@dataclass(frozen=True)
class _Place:
    """Where an utterance's frames are in the file: `count` frames from byte `start`."""

    start: int
    count: int
    audio_tokens: int


class EncodedAudio:
    """Encoder outputs of `model`: from `cache` if its encoder is the foundation's, else computed on request.

    Computed outputs are kept in an unnamed file in `folder` (by default that for temporary files), which disappears
    when the process ends, however it ends: a split's frames may not fit into memory.
    """

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechProcessor,
        cache: EncoderCache | None = None,
        noise: Noise | None = None,
        folder: Path | None = None,
    ) -> None:
        self._model = model
        self._processor = processor
        self._cache = cache
        self._noise = noise
        self._folder = folder
        self._file: Any = None
        self._dtype = model.dtype
        self._places: dict[str, _Place] = {}

    def read(self, rows: Sequence[dict[str, Any]]) -> list[Encoded]:
        """Outputs for manifest rows, on the CPU; missing ones are computed in one batch."""
        self.encode(rows)
        return [self._read(row["utterance_id"]) for row in rows]

    def encode(self, rows: Sequence[dict[str, Any]]) -> None:
        """Compute the missing outputs of manifest rows in one batch: cheapest for utterances of similar length.

        A cache has whole utterances; pieces of long ones are computed.
        """
        new = [row for row in rows if row["utterance_id"] not in self._places and not self._is_cached(row)]
        if not new:
            return
        audio = []
        for row in new:
            samples = read_segment(row["audio"], row["start"], row["end"])
            audio.append(samples if self._noise is None else self._noise(samples, row["utterance_id"]))
        features, mask = self._processor.log_mel(audio)
        with torch.inference_mode():
            frames, mask = self._model.encode_audio(features.to(self._model.device), mask.to(self._model.device))
        for row, samples, one, count in zip(new, audio, frames.cpu(), mask.sum(1).tolist(), strict=True):
            self._write(row["utterance_id"], one[:count], self._processor.audio_token_count(len(samples)))

    def _write(self, name: str, frames: torch.Tensor, audio_tokens: int) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        start = self._file.seek(0, 2)
        self._dtype = frames.dtype
        self._file.write(frames.contiguous().view(torch.uint8).numpy().tobytes())
        self._places[name] = _Place(start, len(frames), audio_tokens)

    def _is_cached(self, row: dict[str, Any]) -> bool:
        return self._cache is not None and row["utterance_id"] in self._cache

    def _read(self, name: str) -> Encoded:
        if self._cache is not None and name in self._cache:
            cached = self._cache.read(name)
            frames = torch.from_numpy(cached.frames.astype("float32"))
            return Encoded(frames, self._processor.audio_token_count(cached.samples))
        place = self._places[name]
        width = self._model.config.audio_config.d_model
        self._file.seek(place.start)
        content = bytearray(self._file.read(place.count * width * self._dtype.itemsize))
        frames = torch.frombuffer(content, dtype=self._dtype).view(place.count, width)
        return Encoded(frames, place.audio_tokens)
