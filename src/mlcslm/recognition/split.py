"""Decode a split, or a diarizer's segments, with a ready recogniser; a killed run resumes where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.config.languages import Group
from mlcslm.config.model_sources import split_source
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.decoding.decoder import SCHEMA
from mlcslm.decoding.hypothesis_files import PARAMETERS, complete_hypotheses, rows_to_decode
from mlcslm.io.files import sha256
from mlcslm.io.locks import exclusive
from mlcslm.recognition.batches import RecognizerDecoder, Row
from mlcslm.recognition.loading import load_recognizer
from mlcslm.runtime.progress import say


def recognize_split(
    config: RecognizerConfig,
    manifest: Path,
    out: Path,
    languages: Mapping[str, Group],
    *,
    name: str,
    groups: Sequence[str] | None = None,
    columns: Sequence[str] = (),
) -> None:
    """Decode the utterances of `groups` (all by default) in `manifest`, and write the hypotheses to `out`.

    name: the recogniser's, in messages; columns: manifest columns to append to the hypotheses' own. Every utterance has
    a hypothesis; empty, truncated and looping ones are counted in a message. Raises UserError as `load_recognizer`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = rows_to_decode(manifest, groups, columns=columns)
    schema = pa.unify_schemas([SCHEMA, pa.schema([pq.read_schema(manifest).field(column) for column in columns])])
    by = provenance(config, manifest)
    label = f"{name} on {manifest.stem}"
    with exclusive(out):
        recognizer = load_recognizer(config)
        decoder = RecognizerDecoder(recognizer, config, languages, label)

        def decode(done: Mapping[str, Row]) -> Iterator[list[Row]]:
            return decoder.decode([row for row in rows if row["utterance_id"] not in done])

        further = {PARAMETERS: str(recognizer.parameters)}
        hypotheses = complete_hypotheses(out, by, rows, decode, schema=schema, label=label, further=further)
    if faults := describe_faults(hypotheses):
        say(f"{label}: {faults}")


def provenance(config: RecognizerConfig, manifest: Path) -> dict[str, str]:
    """What hypotheses depend on: the model and its settings, and the manifest. The batch size is none of them."""
    folder = Path(split_source(config.model)[0])
    files = {}
    if folder.is_dir():
        files = {path.name: sha256(path) for path in sorted(folder.glob("*.json"))}
        files |= {path.name: str(path.stat().st_size) for path in sorted(folder.glob("*.safetensors"))}
    settings = config.model_dump(mode="json", exclude={"batch_size", "model"} if files else {"batch_size"})
    return {
        "recognizer": json.dumps(settings | {"files": files}, sort_keys=True),
        "manifest": json.dumps(sha256(manifest)),
    }


def describe_faults(hypotheses: Sequence[Row]) -> str:
    """How many answers are empty, truncated, looping or malformed, in words; empty if none is.

    >>> describe_faults([{"transcript": "", "stop_reason": "end", "loop": False}])
    '1 of 1 answers empty'
    """
    counts = {
        "empty": sum(not row["transcript"].strip() for row in hypotheses),
        "truncated at the length limit": sum(row["stop_reason"] == "length" for row in hypotheses),
        "running into repetition": sum(bool(row["loop"]) for row in hypotheses),
        "without the expected form": sum(row["stop_reason"] == "malformed" for row in hypotheses),
    }
    found = [f"{count:,} {what}" for what, count in counts.items() if count]
    if not found:
        return ""
    first, *rest = found
    number, what = first.split(" ", 1)
    return ", ".join([f"{number} of {len(hypotheses):,} answers {what}", *rest])
