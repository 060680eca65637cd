"""Decode a split with a checkpoint: batches of similar length, longest first, with one or several decodings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import Group
from mlcslm.corpus.audio import SAMPLE_RATE, segment_samples
from mlcslm.decoding.batching import FittingBatches, length_buckets, with_next
from mlcslm.decoding.compiled_tree import CompiledTrees
from mlcslm.decoding.decoder import SCHEMA, Decoder, needs_ctc_head, schema_of
from mlcslm.decoding.encoded_audio import EncodedAudio
from mlcslm.decoding.engine import Engine, running_engine
from mlcslm.decoding.engine_environment import EngineInfo
from mlcslm.decoding.first_pass import open_first_passes
from mlcslm.decoding.hypothesis_files import complete_hypotheses, provenance, rows_to_decode
from mlcslm.decoding.long_utterances import Pieces, reported_pieces
from mlcslm.decoding.read_ahead import Noise
from mlcslm.errors import UserError
from mlcslm.io.locks import exclusive
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.ctc import load_ctc_head
from mlcslm.model.encoder_cache import open_cache
from mlcslm.model.exported import drop_adapters
from mlcslm.model.lora import merge_lora
from mlcslm.model.packed import pack_language_model
from mlcslm.model.precision import model_dtype
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.runtime.progress import say

_ENGINE_BATCHES = 4

__all__ = ["SCHEMA", "Decoder", "DecodingPaths", "Noise", "decode_split", "decode_with_all", "length_buckets"]


@dataclass(frozen=True)
class DecodingPaths:
    """What a decoding reads and writes; `cache` is used if the checkpoint's encoder is the foundation's."""

    checkpoint: Path
    manifest: Path
    out: Path
    cache: Path | None = None


def decode_split(
    paths: DecodingPaths, decoding: DecodingConfig, languages: Mapping[str, Group], **options: Any
) -> None:
    """Decode the utterances of a manifest and write the hypotheses to `paths.out`: see `decode_with_all`.

    No other process decodes for the same file meanwhile; `mlcslm status` tells by the lock that this one is at it.
    """
    decodings = [(paths.out, decoding)]
    with exclusive(paths.out):
        decode_with_all(
            paths.checkpoint, paths.manifest, decodings, languages, cache=paths.cache, several=False, **options
        )


def decode_with_all(
    checkpoint: Path,
    manifest: Path,
    decodings: Iterable[tuple[Path, DecodingConfig]],
    languages: Mapping[str, Group],
    *,
    cache: Path | None = None,
    ctc: Path | None = None,
    first_passes: Sequence[Path] = (),
    encoder: str | None = None,
    language_model: str | None = None,
    groups: Sequence[str] | None = None,
    unseen: bool = False,
    noise: Noise | None = None,
    columns: Sequence[str] = (),
    compiled: bool = False,
    several: bool = True,
    engine: EngineInfo | None = None,
) -> None:
    """Decode the utterances of `groups` (all by default) in `manifest` with each of `decodings`, one output each.

    The model is loaded once, and each utterance encoded once. The next of `decodings` is requested only after the one
    before is written, so it may be chosen late. encoder, language_model: the foundation models, by default those that
    the checkpoint was trained from. ctc: folder of the CTC head on its encoder, for decodings and checkpoints that need
    one. first_passes: hypotheses for this manifest of the checkpoints whose answers are in the prompts of this one.
    unseen: decode only the fold of this manifest that the checkpoint was trained without. columns: manifest
    columns to append to the outputs' own (`schema_of`). compiled: use compiled steps on a GPU. several: `decodings` may
    yield more than one, so encoder outputs are kept on disk for the next. Answers that do not match the template are
    kept and flagged; nothing is left out. A killed decoding resumes where it was. engine: for decodings with `engine:
    vllm`; it is started once, for the first of them.
    """
    recipe = read_checkpoint(checkpoint).recipe
    rows = rows_to_decode(manifest, groups, recipe.get("fold") if unseen else None, columns)
    appended = pa.schema([pq.read_schema(manifest).field(name) for name in columns])
    cuda = torch.cuda.is_available()
    model, processor = load_checkpoint(
        checkpoint,
        languages=dict(languages),
        encoder=encoder,
        language_model=language_model,
        dtype=model_dtype(),
    )
    merge_lora(model)
    drop_adapters(model)
    model = model.to("cuda" if cuda else "cpu")  # type: ignore[arg-type]  # transformers' decorator hides `self`
    pack_language_model(model)
    encoder_cache, audio = open_cache(cache, manifest, model), None
    head = load_ctc_head(ctc, model) if ctc is not None else None
    heard = open_first_passes(recipe, head, first_passes, checkpoint.name)
    compiled_trees = CompiledTrees() if compiled and cuda else None
    lengths: dict[str, int] = {}
    with ExitStack() as until_the_end:
        running: Engine | None = None
        for out, decoding in decodings:
            out.parent.mkdir(parents=True, exist_ok=True)
            audio = audio or EncodedAudio(model, processor, encoder_cache, noise, out.parent, reused=several)
            needed = ctc if needs_ctc_head(recipe, decoding) else None
            by = provenance(checkpoint, manifest, decoding, needed, engine, first_passes)
            if noise is not None:
                by["noise"] = json.dumps([noise.augmenter.snr_db, noise.seed])
            label = _label(checkpoint, manifest, decoding)
            other = decoding.engine != "own"
            if other and running is None:
                running = until_the_end.enter_context(_started(engine, model, decoding, out, label))
            decoder = Decoder(
                model,
                processor,
                recipe["template"],
                decoding,
                audio,
                compiled_trees,
                head,
                running if other else None,
                heard,
            )
            decode = partial(_decode, decoder, rows, recipe=recipe, manifest=manifest, label=label, lengths=lengths)
            schema = pa.unify_schemas([schema_of(decoding, first_pass=bool(heard)), appended])
            hypotheses = complete_hypotheses(out, by, rows, decode, schema=schema, label=label)
            lengths = {row["utterance_id"]: row["tokens"] for row in hypotheses}


def _label(checkpoint: Path, manifest: Path, decoding: DecodingConfig) -> str:
    answers = decoding.consensus.candidates if decoding.consensus is not None else decoding.beams
    beams = f" {answers}" if answers > 1 else ""
    by = f" by {decoding.engine}" if decoding.engine != "own" else ""
    return f"decoding {checkpoint.name} {manifest.stem}, {decoding.method}{beams} up to {decoding.max_new_tokens}{by}"


def _started(
    engine: EngineInfo | None, model: SpeechLLM, decoding: DecodingConfig, out: Path, label: str
) -> AbstractContextManager[Engine]:
    if engine is None:
        raise UserError(
            f"{label}: no engine is given; name a Python that has vLLM as engines.vllm.python (docs/serving.md)."
        )
    say(f"{label}: starting {engine.version}")
    return running_engine(engine, model, decoding, out)


def _decode(
    decoder: Decoder,
    rows: Sequence[dict[str, Any]],
    done: Mapping[str, dict[str, Any]],
    recipe: Mapping[str, Any],
    manifest: Path,
    label: str,
    lengths: Mapping[str, int],
) -> Iterator[list[dict[str, Any]]]:
    """Hypotheses of the remaining rows, as they come."""
    # Imported late: that module builds on this one.
    from mlcslm.decoding.context import context_size, decode_with_hypothesis_context, with_reference_context

    decoding = decoder.decoding
    context = context_size(decoding, recipe, label)
    waiting = [row for row in rows if row["utterance_id"] not in done]
    if decoding.context == "reference":
        waiting = with_reference_context(waiting, manifest, context)
    whole, waiting = answered_before(waiting, decoder, label)
    if whole:
        done = {**done, **{one["utterance_id"]: one for one in whole}}
        yield whole
    pieces = pieces_to_decode(waiting, decoder, label)
    if decoding.context == "hypotheses":
        known = [row for row in rows if row["utterance_id"] in done]
        for hypotheses in decode_with_hypothesis_context(decoder, [*known, *pieces.rows], context, dict(done)):
            yield pieces.join(hypotheses)
        return
    # An engine replaces answers that end by others: the more it has, the less often it waits for the longest.
    size = decoding.batch_size * (_ENGINE_BATCHES if decoder.engine is not None else 1)
    decode = FittingBatches(decoder.decode, size, label)
    for batch, following in with_next(length_buckets(pieces.rows, size, lengths)):
        decoder.audio.prepare([*batch, *following])
        for hypotheses in decode(batch):
            yield pieces.join(hypotheses)


def answered_before(
    rows: Sequence[dict[str, Any]], decoder: Decoder, label: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Hypotheses of utterances longer than the encoder's window that another checkpoint has answered, and other rows.

    Nobody knows which part of such an answer would be a piece's.
    """
    answered = next((one for one in decoder.first_passes if isinstance(one, Mapping)), None)
    if answered is None:
        return [], list(rows)
    longest = decoder.processor.features.max_samples
    long = {row["utterance_id"] for row in rows if segment_samples(row["start"], row["end"]) > longest}
    if long:
        say(
            f"{label}: of {len(long):,} of {len(rows):,} utterances, longer than the encoder's window, the first pass "
            f"is the answer: e.g. {min(long)}"
        )
    empty: dict[str, Any] = {"raw_text": "", "language": None, "think": None, "tokens": 0, "audio_tokens": 0}
    empty |= {"stop_reason": "end", "loop": False, "seconds": 0.0}
    kept = [
        empty | {"utterance_id": name, "transcript": answered[name], "first_pass": answered[name]}
        for name in sorted(long)
    ]
    return kept, [row for row in rows if row["utterance_id"] not in long]


def pieces_to_decode(rows: Sequence[dict[str, Any]], decoder: Decoder, label: str) -> Pieces:
    """The rows in pieces that fit the encoder's window; reports utterances that are split."""
    max_duration_s = decoder.processor.features.max_samples / SAMPLE_RATE
    return reported_pieces(rows, max_duration_s, label, f"the encoder's {max_duration_s:g} s")


SEGMENT_COLUMNS = ("recording", "grp", "speaker", "start", "end", "audio")


def transcribe_segments(
    checkpoint: Path,
    segments: Path,
    out: Path,
    decoding: DecodingConfig,
    languages: Mapping[str, Group],
    **options: Any,
) -> None:
    """Decode `segments` (of `diarize_manifest`) as Track 1 decodes utterances, in batches across all sessions.

    Writes hypotheses to `out`, in the segments' order, with Track 1's columns and the segments' own
    (`SEGMENT_COLUMNS`). If nothing was heard or the answer is malformed, the transcript is empty or null: no segment is
    left out. options: of `decode_split`.
    """
    decode_split(DecodingPaths(checkpoint, segments, out), decoding, languages, columns=SEGMENT_COLUMNS, **options)
