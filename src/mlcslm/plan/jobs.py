"""A run's jobs by rule: what Snakemake would run to make all tables from scratch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlcslm.config.own_rows import RECIPES
from mlcslm.workflow.layout import Layout

System = tuple[str, str, str]
"""(checkpoint, decoding, split)"""


@dataclass(frozen=True)
class Needed:
    """What the tables need: checkpoints in the configuration's order, systems, (diarizer, split) pairs, embeddings to
    train and their speaker corpora, checkpoints whose training-set hypotheses others learn from, encoders with CTC
    heads, those that hear first passes of the training set, (checkpoint, decoding) pairs whose answers to their fold of
    it are first passes, and splits with cached encoder outputs, by encoder."""

    tables: tuple[str, ...]
    checkpoints: tuple[str, ...]
    systems: tuple[System, ...]
    diarized: tuple[tuple[str, str], ...]
    embeddings: tuple[str, ...]
    speaker_corpora: tuple[str, ...]
    reasoning: tuple[str, ...]
    ctc_heads: tuple[str, ...]
    first_passes: tuple[str, ...]
    folds: tuple[tuple[str, str], ...]
    cached: tuple[tuple[str, str], ...]


def needed_for_tables(layout: Layout, tables: Iterable[str] | None = None) -> Needed:
    """What `tables` need, by default all that the configuration has rows for."""
    config = layout.config
    tables = tuple(layout.measured_tables() if tables is None else tables)
    systems = dict.fromkeys(system for table in tables for system in layout.measured(table))
    diarized = dict.fromkeys(pair for table in tables for pair in layout.diarized(table))
    trained = [system for system in systems if system[0] in config.stages]
    checkpoints = {name for checkpoint, _, _ in trained for name in config.needed(checkpoint)}
    reasoning = tuple(config.reasoning.checkpoints) if any(map(config.needs_training_hypotheses, checkpoints)) else ()
    read = {(checkpoint, split) for checkpoint, _, split in trained} | {(name, "train") for name in checkpoints}
    cached = {(config.encoder_of(name), split) for name, split in read if layout.uses_cache(name, split)}
    judged = [checkpoint for checkpoint, decoding, _ in trained if config.needs_ctc_head(checkpoint, decoding)]
    judged += [name for name in config.stages if name in checkpoints and layout.measuring_ctc_file(name)]
    heads = tuple(dict.fromkeys(map(config.encoder_of, judged)))
    trained_here = [name for name in config.stages if name in checkpoints]
    first_passes = tuple(dict.fromkeys(config.encoder_of(name) for name in trained_here if config.hears_ctc(name)))
    others = [one for name in trained_here for one in config.checkpoint_first_passes(name)]
    cached |= {(encoder, "train") for encoder in (*heads, *first_passes)}
    diarizers = dict.fromkeys(name for name, _ in diarized)
    embeddings = dict.fromkeys(config.diarizers[name].embedding for name in diarizers if layout.embedding_file(name))
    return Needed(
        tables=tables,
        checkpoints=tuple(name for name in config.stages if name in checkpoints),
        systems=tuple(systems),
        diarized=tuple(diarized),
        embeddings=tuple(embeddings),
        speaker_corpora=tuple(
            dict.fromkeys(corpus for name in embeddings for corpus in config.embeddings[name].corpora)
        ),
        reasoning=reasoning,
        ctc_heads=heads,
        first_passes=first_passes,
        folds=tuple(dict.fromkeys((fold, one.decoding) for one in others for fold in one.folds)),
        cached=tuple(sorted(cached)),
    )


def job_counts(layout: Layout, needed: Needed) -> dict[str, int]:
    """Number of jobs by rule, counting only those that the tables need, in execution order."""
    shards = len(layout.shards())
    answering = sum(layout.config.diarizers[name].stretch_s is not None for name, _ in needed.diarized)
    decodings = [decoding for _, decoding, _ in needed.systems]
    decodings += [layout.config.reasoning.decoding] if needed.reasoning else []
    decodings += [decoding for _, decoding in needed.folds]
    counts = {
        "demo_corpus": int(layout.config.corpus.kind == "demo"),
        "manifest": len(layout.splits),
        "training_manifest": int(layout.config.corpus.turns_s is not None and bool(needed.checkpoints)),
        "encoder_cache": len(needed.cached),
        "train": len(needed.checkpoints),
        "train_ctc_head": len(needed.ctc_heads),
        "train_ctc_fold_head": len(needed.first_passes) * len(layout.folds()),
        "first_pass": len(needed.first_passes),
        "vllm": int(any(map(layout.engine_file, decodings))),
        "decode_training_set": len(needed.reasoning) * shards,
        "decode_fold": len(needed.folds) * shards,
        "reasoning_data": int(any(map(layout.config.needs_reasoning_data, needed.checkpoints))),
        "decode": sum(checkpoint in layout.config.stages for checkpoint, _, _ in needed.systems) * shards,
        "recognize": sum(name in layout.config.recognizers for name, _, _ in needed.systems) * shards,
        "merge_hypotheses": len(needed.systems),
        "score": len(needed.systems),
        "score_candidates": sum(layout.has_candidates(decoding) for _, decoding, _ in needed.systems),
        "stage_costs": int(RECIPES in needed.tables),
        "speaker_corpus": len(needed.speaker_corpora),
        "train_embedding": len(needed.embeddings),
        "diarize": len(needed.diarized) - answering,
        "transcribe_segments": len(needed.diarized) - answering,
        "answer_sessions": answering,
        "score_diarization": len(needed.diarized),
        "evaluate": len(layout.external_inputs()),
        "database": int(bool(needed.tables)),
        "table": len(needed.tables),
        "all": 1,
    }
    return {rule: count for rule, count in counts.items() if count}
