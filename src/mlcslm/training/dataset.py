"""Training examples: the utterances of a manifest with their audio, cached or read on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from mlcslm.corpus.audio import SAMPLE_RATE, read_segment
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.errors import UserError
from mlcslm.io.parquet import read_table
from mlcslm.model.distortions import Distortions, augmentation_rng
from mlcslm.model.encoder_cache import EncoderCache, moved_boundaries
from mlcslm.model.processor import SpeechProcessor
from mlcslm.runtime.progress import say
from mlcslm.text.context import context_lines, utterances_before
from mlcslm.text.diarized import diarized_text
from mlcslm.text.protocols import normalise_reference
from mlcslm.text.templates import Template
from mlcslm.training.batches import Key
from mlcslm.training.first_pass import FirstPasses, best_choice
from mlcslm.training.reasoning_data import transcripts_as_context
from mlcslm.training.stretches import SAID, stretches_of
from mlcslm.training.turns import FIRST

_COLUMNS = ["utterance_id", "session_id", "grp", "turn", "speaker", "audio", "start", "end", "text"]
_CONTEXT_STREAM, _SOURCE_STREAM = 1, 3  # keep these random streams apart from those that augment

ContextSource = Literal["references", "hypotheses", "mixed"]


class UtteranceDataset(Dataset[dict[str, Any]]):
    """Utterances of `manifest` that have text, last at most `max_duration_s` and are in no session of `fold`.

    Item (pass, index) holds `input_ids`, `labels` and either `encoder_frames` (T, d) from `cache`, or `input_features`
    (M, F) of the audio with its `distortions`, drawn per (seed, pass, utterance). The target is the reference under
    protocol `mlcslm-2025`, exactly as hypotheses are scored against it; with template "reasoning" it follows the
    reflection from `reasoning` (see `reasoning_data`). The prompt contains the references of the previous `context`
    utterances, except in a share of `context_dropout`, redrawn in each pass. context_source: with "hypotheses", those
    in the files `hypotheses` take their place, and with "mixed" in half of the examples, redrawn in each pass; an
    utterance without one keeps its reference. turns: with the manifest's whole turns (`mlcslm.training.turns`), if it
    has any. first_passes: files of what was heard of each utterance by whom, for the prompt
    (`mlcslm.training.first_pass`). rewrite_above: with template "choose", see `best_choice`. boundaries_s: without a
    cache, which has moved its own, half of all starts and ends, redrawn in each pass, are moved outwards by up to this
    many seconds. With template "diarized" examples are stretches of conversation (`stretches_of`), whose audio is read,
    not cached.
    """

    def __init__(
        self,
        manifest: str | os.PathLike[str],
        processor: SpeechProcessor,
        template: Template,
        *,
        cache: EncoderCache | None = None,
        distortions: Distortions | None = None,
        seed: int = 0,
        max_duration_s: float = 30.0,
        fold: tuple[int, int] | None = None,
        reasoning: str | os.PathLike[str] | None = None,
        context: int = 0,
        context_dropout: float = 0.0,
        context_source: ContextSource = "references",
        hypotheses: Sequence[Path] = (),
        turns: bool = False,
        first_passes: Sequence[Sequence[Path]] = (),
        rewrite_above: float | None = 0.0,
        boundaries_s: float = 0.0,
    ) -> None:
        table = read_table(manifest)
        rows = table.select([*_COLUMNS, *({FIRST} & set(table.column_names))]).to_pylist()
        if not turns:
            rows = [row for row in rows if not row.get(FIRST)]
        excluded = sessions_of_fold(rows, fold) if fold else set()
        before = utterances_before((row for row in rows if not row.get(FIRST)), context)
        # Words beyond the encoder's window would be in the answer to learn, but not be heard.
        max_duration_s = min(max_duration_s, processor.features.max_samples / SAMPLE_RATE)
        if template == "diarized":
            # Room for the boundaries that are moved outwards.
            rows = stretches_of(rows, max_duration_s - 2 * boundaries_s)
        self.rows = [
            row
            for row in rows
            if row["text"] and row["end"] - row["start"] <= max_duration_s and row["session_id"] not in excluded
        ]
        too_long = [
            row["utterance_id"]
            for row in rows
            if row["end"] - row["start"] > max_duration_s and row["session_id"] not in excluded
        ]
        if self.rows and too_long:
            some = ", ".join(too_long[:3]) + (", …" if len(too_long) > 3 else "")
            say(
                f"{manifest}: not trained on {len(too_long):,} of {len(rows):,} utterances, which last longer "
                f"than {max_duration_s:g} s: {some}"
            )
        if not self.rows:
            outside = f" outside fold {list(fold)}" if fold else ""
            raise UserError(
                f"{manifest}: none of its {len(rows)} utterances{outside} has text and lasts at most "
                f"{max_duration_s} s."
            )
        self.thoughts = _read_thoughts(Path(reasoning), self.rows) if reasoning is not None else {}
        self.first_passes = [FirstPasses(files, self.rows) for files in first_passes]
        self.rewrite_above = rewrite_above
        self.context_dropout = context_dropout
        self.context_source = context_source
        # A stretch has no context (`StageConfig`), and its id is no utterance's.
        preceding = {row["utterance_id"]: before.get(row.get(FIRST) or row["utterance_id"], []) for row in self.rows}
        self.contexts = {name: context_lines([other["text"] for other in others]) for name, others in preceding.items()}
        self.heard_contexts: dict[str, list[str]] = {}
        if context_source != "references":
            self.heard_contexts = _heard_contexts(manifest, preceding, transcripts_as_context(hypotheses))
        self.boundaries_s = boundaries_s
        self.processor = processor
        self.template: Template = template
        self.cache = cache
        self.distortions = distortions or Distortions()
        if template == "diarized":  # whose answers say when
            self.distortions = replace(self.distortions, speeds=())
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Sequence[float]:
        """Duration of each utterance in seconds."""
        return [row["end"] - row["start"] for row in self.rows]

    @property
    def languages(self) -> Sequence[str]:
        """Language token of each utterance."""
        return [self.processor.groups[row["grp"]].token for row in self.rows]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row = self.rows[key[1]]
        audio, samples = self.audio(key)
        heard = [one.of(row["utterance_id"], key[0]) for one in self.first_passes]
        group = self.processor.groups[row["grp"]]
        example = self.processor.encode_example(
            row["grp"],
            self.template,
            audio_tokens=self.processor.audio_token_count(samples),
            transcript=self.transcript(key),
            context=self.context(key),
            think=self.thoughts.get(row["utterance_id"]),
            first_passes=heard,
            choice=best_choice(self.template, group, row["text"], heard, self.rewrite_above),
        )
        return example | audio

    def transcript(self, key: Key) -> str:
        """What the example is to say; with template `diarized` who says it, and when, in seconds of what is heard."""
        row = self.rows[key[1]]
        if SAID in row:
            return diarized_text(row[SAID], self.boundaries(key)[0])
        return normalise_reference(row["text"])

    def context(self, key: Key) -> list[str]:
        """Transcripts of the previous utterances, oldest first; empty where this pass drops them."""
        number, index = key
        name = self.rows[index]["utterance_id"]
        if self.context_dropout:
            rng = augmentation_rng(self.seed, number, name, _CONTEXT_STREAM)
            if rng.random() < self.context_dropout:
                return []
        if self.context_source == "references":
            return self.contexts[name]
        if self.context_source == "mixed":
            rng = augmentation_rng(self.seed, number, name, _SOURCE_STREAM)
            return self.contexts[name] if rng.random() < 0.5 else self.heard_contexts[name]
        return self.heard_contexts[name]

    def boundaries(self, key: Key) -> tuple[float, float]:
        """Start and end of what an example hears of its session, in seconds; the end may lie past the session's."""
        number, index = key
        longest_s = self.processor.features.max_samples / SAMPLE_RATE
        return moved_boundaries(self.rows[index], self.boundaries_s, self.seed, number, longest_s)

    def audio(self, key: Key) -> tuple[dict[str, torch.Tensor], int]:
        """`encoder_frames` (T, d) or `input_features` (M, F) of an utterance, and its number of samples at 16 kHz."""
        number, index = key
        row = self.rows[index]
        if self.cache is not None:
            cached = self.cache.read(row["utterance_id"], number)
            return {"encoder_frames": torch.from_numpy(cached.frames.astype("float32"))}, cached.samples
        drawn = self.seed, number, row["utterance_id"]
        longest = self.processor.features.max_samples
        heard = self.distortions.audio(read_segment(row["audio"], *self.boundaries(key)), *drawn, longest=longest)
        log_mel = self.distortions.log_mel(self.processor.log_mel([heard])[0][0], len(heard), *drawn)
        return {"input_features": log_mel}, len(heard)


def _heard_contexts(
    manifest: str | os.PathLike[str], preceding: Mapping[str, Sequence[dict[str, Any]]], heard: Mapping[str, str]
) -> dict[str, list[str]]:
    """Context lines of each utterance from what was `heard` in those before it, or else from their references."""
    needed = {other["utterance_id"] for others in preceding.values() for other in others}
    if missing := needed - set(heard):
        say(
            f"{manifest}: no hypothesis for {len(missing)} of {len(needed)} utterances, e.g. {min(missing)}: "
            "their references are the context"
        )
    return {
        name: context_lines([heard.get(other["utterance_id"], other["text"]) for other in others])
        for name, others in preceding.items()
    }


def _read_thoughts(path: Path, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Reflection of each utterance of `rows`, by utterance id. Raises UserError if any is missing."""
    columns = read_table(path, columns=["utterance_id", "think"]).to_pydict()
    thoughts = dict(zip(*columns.values(), strict=True))
    if missing := [row["utterance_id"] for row in rows if row["utterance_id"] not in thoughts]:
        raise UserError(
            f"{path}: no reflection for {len(missing)} of {len(rows)} training utterances, e.g. {missing[0]}; "
            "delete the file and run the workflow again."
        )
    return thoughts


class PromptDataset(UtteranceDataset):
    """As `UtteranceDataset`, but item (pass, index) holds what rewards are computed from, without the audio:
    `utterance_id`, `reference` (normalised under `mlcslm-2025`), the `unit` of the error rate, the `language` token,
    `key`, and an empty `prompt`, which trl requires. The method `prompt` returns the model's actual input.
    """

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row = self.rows[key[1]]
        return {
            "prompt": "",
            "key": key,
            "utterance_id": row["utterance_id"],
            "reference": normalise_reference(row["text"]),
            "unit": self.processor.groups[row["grp"]].unit,
            "language": self.processor.groups[row["grp"]].token,
        }

    def prompt(self, key: Key) -> dict[str, Any]:
        """`input_ids` of the prompt, with `encoder_frames` (T, d) or `input_features` (M, F), ready to collate."""
        audio, samples = self.audio(key)
        tokens = self.processor.audio_token_count(samples)
        group = self.rows[key[1]]["grp"]
        return {"input_ids": self.processor.encode_prompt(group, self.template, audio_tokens=tokens)} | audio

    def target(self, key: Key) -> list[int]:
        """Ids of the reference as an answer, the end token last."""
        row = self.rows[key[1]]
        return self.processor.encode_target(row["grp"], self.template, normalise_reference(row["text"]))
