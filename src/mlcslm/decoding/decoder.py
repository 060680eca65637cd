"""A checkpoint with one decoding: answers to batches of utterances, and hypotheses read from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.stages import first_passes_of
from mlcslm.decoding.compiled_tree import CompiledTrees
from mlcslm.decoding.consensus import candidate_requests, consensus_hypothesis
from mlcslm.decoding.encoded_audio import EncodedAudio
from mlcslm.decoding.engine import Engine
from mlcslm.decoding.first_pass import Heard, heard_in
from mlcslm.decoding.loops import has_loop
from mlcslm.decoding.search import search, search_candidates
from mlcslm.model.ctc import CtcHead
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.text.templates import Template

SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("raw_text", pa.string()),
        ("language", pa.string()),
        ("transcript", pa.string()),
        ("think", pa.string()),
        ("tokens", pa.int32()),
        ("audio_tokens", pa.int32()),
        ("stop_reason", pa.string()),
        ("loop", pa.bool_()),
        ("seconds", pa.float64()),
    ]
)
CANDIDATES = pa.field("candidates", pa.list_(pa.string()))
"""Transcripts that a consensus chose from, the greedy one first if it is among them; other methods have none."""


FIRST_PASS = pa.field("first_pass", pa.string())
"""What was heard before, as in the prompt, a line each; checkpoints without a first pass have no such column."""


def schema_of(decoding: DecodingConfig, *, first_pass: bool = False) -> pa.Schema:
    """Columns of a decoding's hypotheses: `SCHEMA`, with `method: consensus` the candidates, and the first pass."""
    schema = SCHEMA.append(FIRST_PASS) if first_pass else SCHEMA
    return schema if decoding.consensus is None else schema.append(CANDIDATES)


def needs_ctc_head(recipe: Mapping[str, Any], decoding: DecodingConfig) -> bool:
    """Whether a checkpoint trained as `recipe` says needs a CTC head: for its prompts, or to judge its candidates."""
    return decoding.needs_ctc_head or "ctc" in first_passes_of(recipe.get("first_pass", "none"))


class Decoder:
    """A model with one decoding; `decode` takes batches of manifest rows.

    A row's "context", if any, goes into its prompt: transcripts of the preceding utterances, oldest first.
    audio: source of encoder outputs, shared by a job's decodings; by default the audio is read and encoded.
    compiled_trees: for compiled steps, shared by a job's decodings. ctc: the head on the model's encoder that judges
    candidates, if the decoding has one. engine: what answers, for a decoding that does not search itself.
    first_passes: whose transcripts are in each prompt, for a model trained with `first_pass`; hypotheses have them too.
    """

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechProcessor,
        template: Template,
        decoding: DecodingConfig,
        audio: EncodedAudio | None = None,
        compiled_trees: CompiledTrees | None = None,
        ctc: CtcHead | None = None,
        engine: Engine | None = None,
        first_passes: Sequence[Heard] = (),
    ) -> None:
        if decoding.needs_ctc_head and ctc is None:
            raise ValueError("candidates are to be weighed by a CTC head, but there is none")
        self.model = model
        self.ctc = ctc
        self.first_passes = first_passes
        self._heard: dict[str, tuple[str, ...]] = {}
        self.processor = processor
        self.template: Template = template
        self.decoding = decoding
        self.audio = audio or EncodedAudio(model, processor)
        self.compiled_trees = compiled_trees
        self.engine = engine

    def decode(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One hypothesis (a row of `schema_of` the decoding) per manifest row, in order."""
        started = time.perf_counter()
        names = [row["utterance_id"] for row in rows]
        if self.engine is not None:
            embedded, audio_tokens = self._embedded(rows)
            answers = self.engine.answers(embedded, names, self.decoding)
            return self._hypotheses(rows, answers, audio_tokens, started)
        examples, audio_tokens = self.examples(rows)
        batch = self.processor.collate(examples, side="left")
        prompts = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        if self.decoding.consensus is not None:
            frames = [example["encoder_frames"] for example in examples]
            return self._choose(rows, prompts, names, frames, audio_tokens, started)
        answers = search(self.model, prompts, names, self.decoding, self.compiled_trees)
        return self._hypotheses(rows, answers, audio_tokens, started)

    @torch.inference_mode()
    def _embedded(self, rows: Sequence[dict[str, Any]]) -> tuple[list[torch.Tensor], list[int]]:
        """Each row's prompt as the language model reads it, (L, h), and its audio tokens; encoded batch by batch."""
        prompts: list[torch.Tensor] = []
        audio_tokens: list[int] = []
        for start in range(0, len(rows), self.decoding.batch_size):
            examples, tokens = self.examples(rows[start : start + self.decoding.batch_size])
            batch = {name: one.to(self.model.device) for name, one in self.processor.collate(examples).items()}
            lengths = batch.pop("attention_mask").sum(1).tolist()
            embedded_BLh = self.model.model.embed_prompts(**batch)
            prompts += [one[:length] for one, length in zip(embedded_BLh, lengths, strict=True)]
            audio_tokens += tokens
        return prompts, audio_tokens

    def _hypotheses(
        self,
        rows: Sequence[dict[str, Any]],
        answers: Sequence[Sequence[int]],
        audio_tokens: Sequence[int],
        started: float,
    ) -> list[dict[str, Any]]:
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            self.hypothesis(row, ids, tokens, seconds)
            for row, ids, tokens in zip(rows, answers, audio_tokens, strict=True)
        ]

    def _choose(
        self,
        rows: Sequence[dict[str, Any]],
        prompts: Mapping[str, torch.Tensor],
        names: Sequence[str],
        frames: Sequence[torch.Tensor],
        audio_tokens: Sequence[int],
        started: float,
    ) -> list[dict[str, Any]]:
        """One of several candidates per manifest row."""
        requests = candidate_requests(self.decoding)
        answers = search_candidates(self.model, prompts, names, requests, self.decoding.seed)
        chosen = []
        for row, found, heard, tokens in zip(rows, answers, frames, audio_tokens, strict=True):
            candidates = [self.hypothesis(row, answer.ids, tokens, 0.0) for answer in found]
            group = self.processor.groups[row["grp"]]
            scores: list[float] = []
            if self.decoding.needs_ctc_head and self.ctc is not None:
                scores = self.ctc.score(heard, [one["transcript"] or "" for one in candidates])
            chosen.append(consensus_hypothesis(candidates, found, self.decoding, group, scores))
        seconds = (time.perf_counter() - started) / len(rows)
        return [one | {"seconds": seconds} for one in chosen]

    def examples(self, rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
        """Each row's `input_ids` (the prompt) and `encoder_frames` (T, d), ready to collate, and its audio tokens."""
        encoded = self.audio.read(rows)
        audio_tokens = [one.audio_tokens for one in encoded]
        examples = [
            {"input_ids": self.prompt(row, one.audio_tokens, one.frames), "encoder_frames": one.frames}
            for row, one in zip(rows, encoded, strict=True)
        ]
        return examples, audio_tokens

    def prompt(self, row: dict[str, Any], audio_tokens: int, frames: torch.Tensor) -> list[int]:
        """Token ids of a row's prompt; frames (T, d): what the encoder heard."""
        heard = self._heard[row["utterance_id"]] = heard_in(self.first_passes, row["utterance_id"], frames)
        return self.processor.encode_prompt(
            row["grp"],
            self.template,
            audio_tokens=audio_tokens,
            context=row.get("context", ()),
            first_passes=heard,
        )

    def hypothesis(self, row: dict[str, Any], ids: Sequence[int], audio_tokens: int, seconds: float) -> dict[str, Any]:
        """The hypothesis (a row of `SCHEMA`) that the generated `ids` spell."""
        ids, ended = self.processor.completion(ids)
        heard = self._heard[row["utterance_id"]]
        answer = self.processor.parse(ids, self.template, row["end"] - row["start"], heard)
        reason = "length" if not ended else "end" if answer.well_formed else "malformed"
        return {
            "utterance_id": row["utterance_id"],
            "raw_text": self.processor.decode(ids),
            "language": answer.language,
            "transcript": answer.transcript,
            "think": answer.think,
            "tokens": len(ids),
            "audio_tokens": audio_tokens,
            "stop_reason": reason,
            "loop": has_loop(ids),
            "seconds": seconds,
            **({"first_pass": "\n".join(heard)} if heard else {}),
        }
