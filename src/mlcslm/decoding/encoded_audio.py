"""Encoder outputs of decoded utterances: each is computed once, however many decodings request it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlcslm.decoding.read_ahead import FeatureReader, Noise
from mlcslm.model.encoder_cache import EncoderCache
from mlcslm.model.log_mel import pad_features
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM


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

    reused: several decodings request each output. Computed ones are then kept in an unnamed file in `folder` (by
    default that for temporary files), which disappears when the process ends, however it ends: a split's frames may not
    fit into memory. Otherwise an output stays in memory until it is read, and nothing is written: those of 1,500 h of
    speech take 693 GB.
    """

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechProcessor,
        cache: EncoderCache | None = None,
        noise: Noise | None = None,
        folder: Path | None = None,
        *,
        reused: bool = True,
    ) -> None:
        self._model = model
        self._processor = processor
        self._cache = cache
        self._features = FeatureReader(processor, noise)
        self._kept: dict[str, Encoded] | _SpilledFrames
        self._kept = _SpilledFrames(folder, model.config.audio_config.d_model) if reused else {}

    def prepare(self, rows: Sequence[dict[str, Any]]) -> None:
        """Have the audio of manifest rows read while the model is busy, as far as their outputs are missing."""
        self._features.prepare(self._missing(rows))

    def read(self, rows: Sequence[dict[str, Any]]) -> list[Encoded]:
        """Outputs for manifest rows, on the CPU; missing ones are computed in one batch."""
        self.encode(rows)
        return [self._read(row["utterance_id"]) for row in rows]

    def encode(self, rows: Sequence[dict[str, Any]]) -> None:
        """Compute the missing outputs of manifest rows in one batch: cheapest for utterances of similar length.

        A cache has whole utterances; pieces of long ones are computed.
        """
        new = self._missing(rows)
        if not new:
            return
        features = self._features(new)
        log_mel, mask = pad_features([one.log_mel for one in features])
        with torch.inference_mode():
            frames, mask = self._model.encode_audio(log_mel.to(self._model.device), mask.to(self._model.device))
        for row, one, output, count in zip(new, features, frames.cpu(), mask.sum(1).tolist(), strict=True):
            self._kept[row["utterance_id"]] = Encoded(output[:count], one.audio_tokens)

    def _missing(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            row
            for row in rows
            if row["utterance_id"] not in self._kept and (self._cache is None or row["utterance_id"] not in self._cache)
        ]

    def _read(self, name: str) -> Encoded:
        if self._cache is not None and name in self._cache:
            cached = self._cache.read(name)
            frames = torch.from_numpy(cached.frames.astype("float32"))
            return Encoded(frames, self._processor.audio_token_count(cached.samples))
        return self._kept.pop(name) if isinstance(self._kept, dict) else self._kept[name]


class _SpilledFrames:
    """Outputs by utterance id, `width` numbers per frame, in an unnamed file in `folder`."""

    def __init__(self, folder: Path | None, width: int) -> None:
        self._folder = folder
        self._width = width
        self._file: Any = None
        self._dtype = torch.float32
        self._places: dict[str, _Place] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __setitem__(self, name: str, encoded: Encoded) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        start = self._file.seek(0, 2)
        self._dtype = encoded.frames.dtype
        self._file.write(encoded.frames.contiguous().view(torch.uint8).numpy().tobytes())
        self._places[name] = _Place(start, len(encoded.frames), encoded.audio_tokens)

    def __getitem__(self, name: str) -> Encoded:
        place = self._places[name]
        self._file.seek(place.start)
        content = bytearray(self._file.read(place.count * self._width * self._dtype.itemsize))
        frames = torch.frombuffer(content, dtype=self._dtype).view(place.count, self._width)
        return Encoded(frames, place.audio_tokens)
