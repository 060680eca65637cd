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
from mlcslm.corpus.audio import Audio, read_segment
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.decoding.partial import PartialHypotheses
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
from mlcslm.training.encoder_cache import EncoderCache, augmentation_rng, open_cache

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
_COLUMNS = ["utterance_id", "session_id", "grp", "audio", "start", "end"]
_NOISE_STREAM = 2**32 - 1  # no pass of a training has this number, so it is not the noise that a model has learnt with


@dataclass(frozen=True)
class Noise:
    """What is done to audio before it is decoded: `augmenter`, with a random stream of (seed, utterance)."""

    augmenter: Augmenter
    seed: int

    def __call__(self, samples: Audio, utterance_id: str) -> Audio:
        """The samples with noise, as many."""
        return self.augmenter(samples, augmentation_rng(self.seed, _NOISE_STREAM, utterance_id))


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
    unseen: bool = False,
    noise: Noise | None = None,
) -> None:
    """Decode the utterances of `groups` (all by default) in the manifest and write the hypotheses to `paths.out`.

    encoder, language_model: the foundation models, by default those that the checkpoint was trained from. unseen: of a
    checkpoint that was trained without a fold of this manifest, that fold alone. Answers that do not have the
    template's form are kept and flagged; nothing is left out. A decoding that was killed goes on where it was.
    """
    recipe = read_checkpoint(paths.checkpoint).recipe
    rows = _rows_to_decode(paths.manifest, groups, recipe.get("fold") if unseen else None)
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
    decoder = Decoder(model, processor, recipe["template"], decoding, cache, noise)
    made_by = {
        "checkpoint": sha256(paths.checkpoint / "checkpoint.json"),
        "decoding": json.dumps(decoding.model_dump(mode="json")),
    }
    if noise is not None:
        made_by["noise"] = json.dumps([noise.augmenter.snr_db, noise.seed])
    done = PartialHypotheses(paths.out, made_by | {"manifest": sha256(paths.manifest)})
    label = f"decoding {paths.checkpoint.name} {paths.manifest.stem}"
    with progress(len(rows), label, "utterance") as bar:
        for batch in length_buckets(rows, decoding.batch_size):
            if any(row["utterance_id"] not in done.rows for row in batch):
                done.add(decoder.decode(batch))
            bar.update(len(batch))
    table = pa.Table.from_pylist([done.rows[row["utterance_id"]] for row in rows], schema=SCHEMA)
    with atomic_path(paths.out) as temporary:
        pq.write_table(table.replace_schema_metadata(made_by), temporary)
    done.remove()


def _rows_to_decode(manifest: Path, groups: Sequence[str] | None, fold: tuple[int, int] | None) -> list[dict[str, Any]]:
    """Rows of `manifest` that are of `groups` and in a session of `fold`, each where given."""
    rows = pq.read_table(manifest, columns=_COLUMNS).to_pylist()
    sessions = sessions_of_fold(rows, fold) if fold is not None else None
    return [
        row
        for row in rows
        if (groups is None or row["grp"] in groups) and (sessions is None or row["session_id"] in sessions)
    ]


def length_buckets(rows: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Batches of `size` utterances of similar length, the longest first: what does not fit shows at once."""
    ordered = sorted(rows, key=lambda row: (row["start"] - row["end"], row["utterance_id"]))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


class Decoder:
    """A model with one decoding; `decode` takes batches of manifest rows.

    A row's "context", where it has one, goes into its prompt: transcripts of the utterances before, oldest first.
    """

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechProcessor,
        template: Template,
        decoding: DecodingConfig,
        cache: EncoderCache | None = None,
        noise: Noise | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.template: Template = template
        self.decoding = decoding
        self.cache = cache
        self.noise = noise

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
        for row in rows:
            audio: dict[str, torch.Tensor]
            if self.cache:
                cached = self.cache.read(row["utterance_id"])
                audio = {"encoder_frames": torch.from_numpy(cached.frames.astype("float32"))}
                samples = cached.samples
            else:
                waveform = read_segment(row["audio"], row["start"], row["end"])
                if self.noise is not None:
                    waveform = self.noise(waveform, row["utterance_id"])
                audio = {"input_features": self.processor.log_mel([waveform])[0][0]}
                samples = len(waveform)
            tokens = self.processor.audio_token_count(samples)
            prompt = self.processor.encode_prompt(
                row["grp"], self.template, audio_tokens=tokens, context=row.get("context", ())
            )
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
