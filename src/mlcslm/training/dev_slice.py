"""What a stage that measures itself measures on: a fixed slice of dev, decoded and scored without touching training."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.stages import Stage
from mlcslm.corpus.audio import SAMPLE_RATE
from mlcslm.decoding.batching import FittingBatches
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.encoded_audio import EncodedAudio
from mlcslm.decoding.first_pass import Heard, heard_in
from mlcslm.errors import UserError
from mlcslm.io.parquet import read_table
from mlcslm.model.lora import merged_lora
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.scoring.error_counts import pool
from mlcslm.scoring.wer import score_texts
from mlcslm.text.context import context_lines, utterances_before
from mlcslm.text.protocols import get_protocol, normalise_reference
from mlcslm.text.templates import Template
from mlcslm.training.first_pass import best_choice
from mlcslm.training.parts_trainer import PartsTrainer
from mlcslm.training.rollouts import search_attention

_COLUMNS = ["utterance_id", "session_id", "grp", "turn", "speaker", "audio", "start", "end", "text"]
_SLICE_STREAM = 3  # keeps this random stream apart from those of batches and answers
_BATCH_SIZE = 16


@dataclass(frozen=True)
class Measured:
    """A stage's state after `step` of its steps, on the slice.

    errors, length: of greedy answers under `mlcslm-2025`, in the groups' units; loss: nats per token of the references,
    None where they are not what the stage learns to say.
    """

    step: int
    errors: int
    length: int
    loss: float | None

    @property
    def rate(self) -> float:
        """Errors per unit of the references."""
        return self.errors / max(1, self.length)


def balanced_slice(rows: Sequence[dict[str, Any]], size: int, seed: int) -> list[dict[str, Any]]:
    """`size` manifest rows, as many of each group as possible, in the manifest's order.

    A group with fewer than its share gives all it has, and the others the rest. Which ones depends on the seed and on
    the group's own rows alone.
    """
    by_group: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        by_group.setdefault(row["grp"], []).append(index)
    shuffled = [
        np.random.default_rng([seed, _SLICE_STREAM, zlib.crc32(group.encode())]).permutation(indices).tolist()
        for group, indices in sorted(by_group.items())
    ]
    turns = (index for turn in itertools.zip_longest(*shuffled) for index in turn if index is not None)
    return [rows[index] for index in sorted(itertools.islice(turns, size))]


class DevSlice:
    """The slice of a stage. Measuring it changes neither weights nor the random streams of training.

    Answers are found by greedy search and end when they loop; a stage with context has the references of the utterances
    before in its prompts; first_passes: whose transcripts are in them, for a stage with `first_pass`. Raises
    UserError if `manifest` has no utterance that is short enough and has text.
    """

    def __init__(
        self,
        manifest: Path,
        processor: SpeechProcessor,
        stage: Stage,
        template: Template,
        seed: int,
        first_passes: Sequence[Heard] = (),
    ) -> None:
        longest_s = min(stage.max_duration_s, processor.features.max_samples / SAMPLE_RATE)
        every = read_table(manifest, columns=_COLUMNS).to_pylist()
        rows = [row for row in every if row["text"] and row["end"] - row["start"] <= longest_s]
        if not rows:
            raise UserError(f"{manifest}: no utterance has text and lasts at most {longest_s:g} s; remove eval_steps.")
        before = utterances_before(every, getattr(stage, "context", 0))
        chosen = balanced_slice(rows, stage.eval_utterances, seed)
        self.rows = sorted(
            (row | {"context": context_lines([one["text"] for one in before[row["utterance_id"]]])} for row in chosen),
            key=lambda row: row["end"] - row["start"],
        )
        self.processor = processor
        self.template: Template = template
        self.first_passes = first_passes
        self.rewrite_above: float | None = getattr(stage, "rewrite_above", None)
        self.decoding = DecodingConfig(
            method="greedy", max_new_tokens=stage.eval_max_new_tokens, batch_size=_BATCH_SIZE, stop_loops=True
        )
        self._audio: EncodedAudio | None = None

    def measure(self, trainer: PartsTrainer) -> Measured:
        """The state of the trainer's model; each process measures its share of the slice, and all return the sum."""
        accelerator = trainer.accelerator
        model: SpeechLLM = accelerator.unwrap_model(trainer.model_wrapped)
        own = self.rows[accelerator.process_index :: accelerator.num_processes]
        was_training = model.training
        with _kept_random_state(), torch.no_grad(), accelerator.autocast():
            model.eval()
            try:
                totals = self._totals(model, own)
            finally:
                model.train(was_training)
        sums = torch.tensor(totals, dtype=torch.float64, device=accelerator.device)
        errors, length, loss, tokens = accelerator.reduce(sums, reduction="sum").tolist()
        return Measured(trainer.state.global_step, int(errors), int(length), loss / tokens if tokens else None)

    def _totals(self, model: SpeechLLM, rows: Sequence[dict[str, Any]]) -> tuple[float, float, float, float]:
        """Errors and units of `rows`, the sum of their tokens' losses, and the number of these tokens."""
        if model.model.encoder_is_trainable:  # what it gives has changed since the last time
            self._audio = None
        self._audio = self._audio or EncodedAudio(model, self.processor)
        decoder = Decoder(
            model, self.processor, self.template, self.decoding, self._audio, first_passes=self.first_passes
        )
        decode = FittingBatches(decoder.decode, _BATCH_SIZE, "measuring on dev")
        with search_attention(model), merged_lora(model):
            transcripts = {
                hypothesis["utterance_id"]: hypothesis["transcript"] or ""
                for start in range(0, len(rows), _BATCH_SIZE)
                for batch in decode(rows[start : start + _BATCH_SIZE])
                for hypothesis in batch
            }
        references = {row["utterance_id"]: row["text"] for row in rows}
        groups = {row["utterance_id"]: self.processor.groups[row["grp"]] for row in rows}
        counts = pool(score_texts(references, transcripts, get_protocol("mlcslm-2025"), groups).values())
        loss, tokens = 0.0, 0
        if self.template != "reasoning":  # dev has no reflections
            for start in range(0, len(rows), _BATCH_SIZE):
                batch = self.processor.collate(self._examples(rows[start : start + _BATCH_SIZE], self._audio))
                tokens += int((batch["labels"][:, 1:] >= 0).sum())
                inputs: dict[str, Any] = {name: tensor.to(model.device) for name, tensor in batch.items()}
                loss += model(**inputs, num_items_in_batch=1).loss.item()
        return counts.errors, counts.length, loss, tokens

    def _examples(self, rows: Sequence[dict[str, Any]], audio: EncodedAudio) -> list[dict[str, Any]]:
        examples = []
        for row, encoded in zip(rows, audio.read(rows), strict=True):
            heard = heard_in(self.first_passes, row["utterance_id"], encoded.frames)
            group = self.processor.groups[row["grp"]]
            example = self.processor.encode_example(
                row["grp"],
                self.template,
                audio_tokens=encoded.audio_tokens,
                transcript=normalise_reference(row["text"]),
                context=row["context"],
                first_passes=heard,
                choice=best_choice(self.template, group, row["text"], heard, self.rewrite_above),
            )
            examples.append(example | {"encoder_frames": encoded.frames})
        return examples


@contextmanager
def _kept_random_state() -> Iterator[None]:
    """Restores afterwards all random states that training draws from."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
