"""How far a run has come: what a configuration's tables need, and how much of it is done, running or still to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlcslm.config.schema import Config
from mlcslm.errors import UserError
from mlcslm.io.files import fingerprint
from mlcslm.io.parquet import read_table
from mlcslm.model.checkpoint_file import CHECKPOINT_FILE, read_checkpoint
from mlcslm.status.traces import DONE, TO_DO, Trace, decoding_trace, is_held, log_trace, training_trace
from mlcslm.workflow.layout import Layout


@dataclass(frozen=True)
class Part:
    """A part of a run: section (corpus, training, …), name, progress, and the unit it counts."""

    section: str
    name: str
    trace: Trace
    unit: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"section": self.section, "name": self.name, "unit": self.unit, **asdict(self.trace)}


def read_status(layout: Layout) -> list[Part]:
    """Every part that the configuration's tables need, in workflow order. Writes nothing."""
    return [
        *_corpus(layout),
        *_training(layout),
        *_decoding(layout),
        *_diarization(layout),
        *_tables(layout),
    ]


def _corpus(layout: Layout) -> Iterator[Part]:
    if layout.config.corpus.kind == "demo":
        marker = layout.demo_corpus()
        yield Part("corpus", "demo corpus", _made(marker, layout.log("demo_corpus")))
    for split in layout.splits:
        yield Part("corpus", f"manifest of {split}", _made(layout.manifest(split), layout.log("manifest", split)))
    read = [(name, "train") for name in needed_stages(layout)]
    read += [(name, split) for name, _, split in _systems(layout)]
    cached = {(layout.config.encoder_of(name), split) for name, split in read if layout.uses_cache(name, split)}
    for encoder in ("foundation", *layout.config.stages):
        for split in layout.splits:
            if (encoder, split) in cached:
                trace = _made(layout.cache_card(encoder, split), layout.log("encoder_cache", encoder, split))
                of = "encoder outputs" if encoder == "foundation" else f"outputs of {encoder}'s encoder"
                yield Part("corpus", f"{of} of {split}", trace, "utterances")


def _training(layout: Layout) -> Iterator[Part]:
    config = layout.config
    needed = needed_stages(layout)
    listed = False
    for name, stage in config.stages.items():
        if name not in needed:
            continue
        if config.needs_training_hypotheses(name) and not listed:
            listed = True
            reflections = any(map(config.needs_reasoning_data, needed))
            what = "reasoning data" if reflections else "hypotheses of the training set"
            yield Part("training", what, _reasoning(layout, reflections=reflections), "utterances")
        yield Part("training", name, _stage(layout, name, stage.steps), "steps")


def _stage(layout: Layout, name: str, steps: int) -> Trace:
    trace = training_trace(layout.training_work(name), steps)
    folder = layout.checkpoint(name)
    if trace.state == "running" or not (folder / CHECKPOINT_FILE).is_file():
        return trace
    try:
        provenance = read_checkpoint(folder, verify=False).fingerprints.get("stage")
    except UserError:
        return Trace("outdated")
    # A stage depends on more than its section, but that is what people change and want to hear about.
    expected = fingerprint(layout.config.stages[name].model_dump(mode="json"))
    return DONE if provenance == expected else Trace("outdated")


def _reasoning(layout: Layout, *, reflections: bool) -> Trace:
    """The reasoning data, or only the hypotheses that they are made from."""
    if reflections and layout.reasoning().is_file():
        return DONE
    files = layout.reasoning_hypotheses()
    if all(Path(path).is_file() for path in files):
        return log_trace(layout.log("reasoning_data")) if reflections else DONE
    return decoding_trace([(Path(path), _utterances(layout, "train", Path(path).stem)) for path in files])


def _decoding(layout: Layout) -> Iterator[Part]:
    busy = {
        (checkpoint, split)
        for checkpoint, decoding, split in _systems(layout)
        for shard in layout.shards()
        if is_held(layout.pending_hypotheses(checkpoint, decoding, split, shard).with_suffix(".lock"))
    }
    for checkpoint, decoding, split in _systems(layout):
        name = f"{checkpoint}/{decoding} on {split}"
        if layout.scores(checkpoint, decoding, split).is_file():
            yield Part("decoding", name, DONE, "utterances")
            continue
        system = checkpoint, decoding, split
        shards = [
            (
                done
                if (done := layout.shard_hypotheses(*system, shard)).is_file()
                or checkpoint in layout.config.recognizers
                else layout.pending_hypotheses(*system, shard),
                _utterances(layout, split, shard),
            )
            for shard in layout.shards()
        ]
        trace = decoding_trace(shards)
        if trace.state == "stopped" and (checkpoint, split) in busy:
            trace = replace(trace, state="to do")  # a job does all decodings of a grid, one after the other
        yield Part("decoding", name, trace, "utterances")


def _diarization(layout: Layout) -> Iterator[Part]:
    needed = dict.fromkeys(one for table in layout.measured_tables() for one in layout.diarized(table))
    names = dict.fromkeys(layout.config.diarizers[diarizer].embedding for diarizer, _ in needed)
    for embedding in names:
        if not layout.config.embeddings[embedding].checkpoint:
            made = layout.embedding_weights(embedding)
            trace = _made(made, layout.log("train_embedding", embedding))
            yield Part("diarization", f"embedding {embedding}", trace, "steps")
    for diarizer, split in needed:
        folder = layout.diarization_counts(diarizer, split).parent
        found = [("segments.parquet", "diarize", "sessions"), ("hypothesis.stm", "transcribe_segments", "segments")]
        if layout.config.diarizers[diarizer].stretch_s is not None:
            found = [("hypothesis.stm", "answer_sessions", "stretches")]
        steps = [*found, ("counts.parquet", "score_diarization", "sessions")]
        # Of several consecutive jobs, the first unfinished one shows how far the diarizer is.
        waiting = [(rule, unit) for file, rule, unit in steps if not (folder / file).is_file()]
        trace = log_trace(layout.log(waiting[0][0], diarizer, split)) if waiting else DONE
        yield Part("diarization", f"{diarizer} on {split}", trace, waiting[0][1] if waiting else "")


def _tables(layout: Layout) -> Iterator[Part]:
    for table in layout.measured_tables():
        yield Part("tables", table, DONE if layout.table(table).is_file() else TO_DO)


def needed_stages(layout: Layout) -> set[str]:
    """Stages that the tables need, including all those they continue or learn from."""
    config: Config = layout.config
    measured = {checkpoint for checkpoint, _, _ in _systems(layout) if checkpoint in config.stages}
    return {name for checkpoint in measured for name in config.needed(checkpoint)}


def _systems(layout: Layout) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys(one for table in layout.measured_tables() for one in layout.measured(table)))


def _utterances(layout: Layout, split: str, shard: str) -> int:
    """Number of utterances in a shard, 0 while there is no manifest."""
    manifest = layout.manifest(split)
    if not manifest.is_file():
        return 0
    groups = set(layout.shards().get(shard, layout.groups))
    return sum(name in groups for name in read_table(manifest, ["grp"])["grp"].to_pylist())


def _made(file: Path, log: Path) -> Trace:
    return DONE if file.is_file() else log_trace(log)
