"""Decode a split with a checkpoint: batches of similar length, longest first, and what the answers say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mlcslm.config import DecodingConfig
from mlcslm.corpus.audio import read_segment
from mlcslm.decoding.sampling import UtteranceSampling
from mlcslm.files import atomic_path, sha256
from mlcslm.languages import Group
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.lora import merge_lora
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.progress import progress
from mlcslm.text.templates import Template
from mlcslm.training.encoder_cache import EncoderCache, open_cache

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
        ("seconds", pa.float64()),
    ]
)


@dataclass(frozen=True)
class DecodingPaths:
    """What a decoding reads, and writes: `cache` is used where the checkpoint's encoder is the foundation's."""

    checkpoint: Path
    manifest: Path
    out: Path
    cache: Path | None = None


def decode_split(
    paths: DecodingPaths,
    decoding: DecodingConfig,
    languages: dict[str, Group],
    *,
    encoder: str | None = None,
    language_model: str | None = None,
    groups: Sequence[str] | None = None,
) -> None:
    """Decode the utterances of `groups` (all by default) in the manifest and write the hypotheses to `paths.out`.

    encoder, language_model: the foundation models, by default those that the checkpoint was trained from. Answers that
    do not have the template's form are kept and flagged; nothing is left out.
    """
    rows = pq.read_table(paths.manifest, columns=["utterance_id", "grp", "audio", "start", "end"]).to_pylist()
    rows = [row for row in rows if groups is None or row["grp"] in groups]
    template: Template = read_checkpoint(paths.checkpoint).recipe["template"]
    cuda = torch.cuda.is_available()
    model, processor = load_checkpoint(
        paths.checkpoint,
        languages=languages,
        encoder=encoder,
        language_model=language_model,
        dtype="bfloat16" if cuda and torch.cuda.is_bf16_supported() else "float32",
    )
    merge_lora(model)
    model = model.to("cuda" if cuda else "cpu")
    cache = open_cache(paths.cache, paths.manifest, model)
    decoder = Decoder(model, processor, template, decoding, cache)
    hypotheses: dict[str, dict[str, Any]] = {}
    label = f"decoding {paths.checkpoint.name} {paths.manifest.stem}"
    with progress(len(rows), label, "utterance") as bar:
        for batch in length_buckets(rows, decoding.batch_size):
            for hypothesis in decoder.decode(batch):
                hypotheses[hypothesis["utterance_id"]] = hypothesis
            bar.update(len(batch))
    table = pa.Table.from_pylist([hypotheses[row["utterance_id"]] for row in rows], schema=SCHEMA)
    made_by = {
        "checkpoint": sha256(paths.checkpoint / "checkpoint.json"),
        "decoding": json.dumps(decoding.model_dump(mode="json")),
    }
    with atomic_path(paths.out) as temporary:
        pq.write_table(table.replace_schema_metadata(made_by), temporary)


def length_buckets(rows: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Batches of `size` utterances of similar length, the longest first: what does not fit shows at once."""
    ordered = sorted(rows, key=lambda row: (row["start"] - row["end"], row["utterance_id"]))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


class Decoder:
    """A model with one decoding; `decode` takes batches of manifest rows."""

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechProcessor,
        template: Template,
        decoding: DecodingConfig,
        cache: EncoderCache | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.template: Template = template
        self.decoding = decoding
        self.cache = cache

    def decode(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One hypothesis (a row of `SCHEMA`) a manifest row, in order."""
        started = time.perf_counter()
        examples, audio_tokens = self._examples(rows)
        batch = self.processor.collate(examples, side="left")
        inputs = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        with torch.inference_mode():
            output = self.model.generate(**inputs, **self._options([row["utterance_id"] for row in rows]))
        answers = output[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            self._hypothesis(row, ids, tokens, seconds)
            for row, ids, tokens in zip(rows, answers, audio_tokens, strict=True)
        ]

    def _examples(self, rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int]]:
        examples, audio_tokens = [], []
        waveforms = [] if self.cache else [read_segment(row["audio"], row["start"], row["end"]) for row in rows]
        for number, row in enumerate(rows):
            audio: dict[str, torch.Tensor]
            if self.cache:
                cached = self.cache.read(row["utterance_id"])
                audio = {"encoder_frames": torch.from_numpy(cached.frames.astype("float32"))}
                samples = cached.samples
            else:
                audio = {"input_features": self.processor.log_mel([waveforms[number]])[0][0]}
                samples = len(waveforms[number])
            tokens = self.processor.audio_token_count(samples)
            prompt = self.processor.encode_prompt(row["grp"], self.template, audio_tokens=tokens)
            examples.append({"input_ids": prompt} | audio)
            audio_tokens.append(tokens)
        return examples, audio_tokens

    def _options(self, utterance_ids: Sequence[str]) -> dict[str, Any]:
        decoding = self.decoding
        options: dict[str, Any] = {
            "max_new_tokens": decoding.max_new_tokens,
            "num_beams": decoding.beams,
            "do_sample": False,
        }
        if decoding.method == "multinomial":
            sampling = UtteranceSampling(utterance_ids, decoding.seed, decoding.temperature)
            options["logits_processor"] = [sampling]
        elif decoding.method == "beam+sampling":
            # transformers draws all beams of a batch from one stream: seeded, but by batch.
            torch.manual_seed(decoding.seed)
            options |= {"do_sample": True, "temperature": decoding.temperature, "top_k": 0, "top_p": 1.0}
        return options

    def _hypothesis(self, row: dict[str, Any], ids: Sequence[int], audio_tokens: int, seconds: float) -> dict[str, Any]:
        ids, ended = self.processor.completion(ids)
        answer = self.processor.parse(ids, self.template)
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
            "seconds": seconds,
        }
