"""Training examples: the utterances of a manifest with their audio, cached or read as they are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
import torch
from torch.utils.data import Dataset

from mlcslm.corpus.audio import read_segment
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.errors import UserError
from mlcslm.model.processor import SpeechProcessor
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.templates import Template
from mlcslm.training.batches import Key
from mlcslm.training.encoder_cache import EncoderCache, augmentation_rng


class UtteranceDataset(Dataset[dict[str, Any]]):
    """Utterances of `manifest` that have text and last `longest_s` at most.

    Asked for (pass, index), it gives `input_ids`, `labels` and either `encoder_frames` (T, d) from `cache`, or
    `input_features` (M, F) of the audio, augmented by `augmenter` with a random stream of (seed, pass, utterance).
    The answers to learn are the references of protocol `mlcslm-2025`, which hypotheses are compared with as they are.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        processor: SpeechProcessor,
        template: Template,
        *,
        cache: EncoderCache | None = None,
        augmenter: Augmenter | None = None,
        seed: int = 0,
        longest_s: float = 30.0,
    ) -> None:
        rows = pq.read_table(manifest, columns=["utterance_id", "grp", "audio", "start", "end", "text"]).to_pylist()
        self.rows = [row for row in rows if row["text"] and row["end"] - row["start"] <= longest_s]
        if not self.rows:
            raise UserError(f"{manifest}: none of its {len(rows)} utterances has text and lasts {longest_s} s at most.")
        self.processor = processor
        self.template: Template = template
        self.cache = cache
        self.augmenter = augmenter
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Sequence[float]:
        """Seconds of each utterance."""
        return [row["end"] - row["start"] for row in self.rows]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        number, index = key
        row = self.rows[index]
        if self.cache is not None:
            cached = self.cache.read(row["utterance_id"], number)
            samples = cached.samples
            audio = {"encoder_frames": torch.from_numpy(cached.frames.astype("float32"))}
        else:
            waveform = read_segment(row["audio"], row["start"], row["end"])
            if self.augmenter is not None:
                waveform = self.augmenter(waveform, augmentation_rng(self.seed, number, row["utterance_id"]))
            samples = len(waveform)
            audio = {"input_features": self.processor.log_mel([waveform])[0][0]}
        example = self.processor.encode_example(
            row["grp"],
            self.template,
            audio_tokens=self.processor.audio_token_count(samples),
            transcript=normalise_reference(row["text"]),
        )
        return example | audio
