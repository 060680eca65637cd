"""The reasoning data (paper, section 3.4): what a checkpoint heard in the training speech, and what it got wrong."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlcslm.config.languages import Group
from mlcslm.config.schema import Config
from mlcslm.corpus.augmentation import Augmenter
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.parquet import read_table, write_table
from mlcslm.runtime.progress import watched
from mlcslm.text.alignment import align
from mlcslm.text.protocols import Unit, normalise_reference
from mlcslm.text.reflection import units, write_reflection

SCHEMA = pa.schema([(name, pa.string()) for name in ("utterance_id", "hypothesis", "think")])

# A runaway hypothesis would teach the model to run away: keep at most twice the reference's units plus these.
_EXTRA_UNITS = 5
_REMEDY = "Delete the hypotheses of the training set and run the workflow again."


@dataclass(frozen=True)
class HypothesisErrors:
    """How wrong the hypotheses are under `mlcslm-2025`, to compare with the error rate on dev.

    utterances: total; wrong: with an error; clipped: truncated runaways; errors, length: units, after truncation.
    """

    utterances: int
    wrong: int
    clipped: int
    errors: int
    length: int

    def __str__(self) -> str:
        return (
            f"{self.utterances} hypotheses, {self.wrong} of them wrong, {self.clipped} clipped; error rate "
            f"{100 * self.errors / max(1, self.length):.2f} % ({self.errors} of {self.length})"
        )


def write_reasoning_data(
    manifest: Path, hypotheses: Sequence[Path], out: Path, languages: Mapping[str, Group], *, max_details: int
) -> HypothesisErrors:
    """Write to `out` (`SCHEMA`) the hypothesis and the reflection for each utterance of `manifest` that has text.

    hypotheses: the decoded training set in any number of files, one folder per checkpoint; max_details: how many errors
    of each kind a reflection names at most. Raises UserError for utterances with no hypothesis or several, and for
    files of one folder that differ in provenance.
    """
    heard = _read_hypotheses(manifest, hypotheses)
    rows: list[dict[str, str]] = []
    wrong = clipped = errors = length = 0
    utterances = read_table(manifest, columns=["utterance_id", "grp", "text"]).to_pylist()
    for utterance in watched(utterances, "reasoning data", "utterance"):
        if not utterance["text"]:
            continue
        unit: Unit = languages[utterance["grp"]].unit
        reference = normalise_reference(utterance["text"])
        hypothesis = clip_hypothesis(heard[utterance["utterance_id"]], reference, unit)
        think = write_reflection(hypothesis, reference, unit, longest=max_details)
        rows.append({"utterance_id": utterance["utterance_id"], "hypothesis": hypothesis, "think": think})
        found = len(align(units(reference, unit), units(hypothesis, unit)))
        clipped += hypothesis != heard[utterance["utterance_id"]]
        wrong += found > 0
        errors += found
        length += len(units(reference, unit))
    write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out)
    return HypothesisErrors(len(rows), wrong, clipped, errors, length)


def clip_hypothesis(hypothesis: str, reference: str, unit: Unit) -> str:
    """`hypothesis`, truncated to twice the reference's units plus five if it runs on.

    >>> clip_hypothesis("oh " * 50, "oh", "word")
    'oh oh oh oh oh oh oh'
    >>> clip_hypothesis("そうですねそうですねそうですね", "そう", "character")
    'そうですねそうです'
    """
    limit = 2 * len(units(reference, unit)) + _EXTRA_UNITS
    end = bisect.bisect_right(range(len(hypothesis) + 1), limit, key=lambda end: len(units(hypothesis[:end], unit))) - 1
    return hypothesis[:end].strip()


def decoding_augmenter(config: Config, noise: Path | None, room_responses: Path | None) -> Augmenter | None:
    """The augmenter that degrades the training speech with `reasoning.snr_db`; None by default, as in the paper.

    noise, room_responses: folders, as for training. Raises UserError if both are missing.
    """
    if config.reasoning.snr_db is None:
        return None
    if noise is None and room_responses is None:
        raise UserError(
            "reasoning.snr_db requires noise, but there is none: set augmentation.noise or .room_responses; the demo "
            "corpus comes with both if augmentation.probability is above 0."
        )
    return Augmenter(1.0, noise, room_responses, config.reasoning.snr_db)


def transcripts_as_context(files: Sequence[Path]) -> dict[str, str]:
    """What utterances of the training set become in the prompts of the next ones, by id, as in decoding.

    Empty for malformed answers and for those that never ended. Raises UserError for files of one folder that differ in
    provenance.
    """
    rows = read_hypotheses(files, "utterance_id", "transcript", "stop_reason")
    return {row["utterance_id"]: "" if row["stop_reason"] == "length" else row["transcript"] or "" for row in rows}


def read_hypotheses(files: Sequence[Path], *columns: str) -> list[dict[str, Any]]:
    """These columns of all hypotheses. Raises UserError for files of one folder that differ in provenance."""
    provenance: dict[Path, Any] = {}
    rows: list[dict[str, Any]] = []
    for file in files:
        table = read_table(file, columns=list(columns))
        if provenance.setdefault(file.parent, table.schema.metadata) != table.schema.metadata:
            raise UserError(f"{file}: made by a different checkpoint or decoding than its neighbours. {_REMEDY}")
        rows += table.to_pylist()
    return rows


def _read_hypotheses(manifest: Path, files: Sequence[Path]) -> dict[str, str]:
    """Transcript of each utterance of `manifest`, white space collapsed."""
    rows = read_hypotheses(files, "utterance_id", "transcript")
    names = [row["utterance_id"] for row in rows]
    transcripts = [row["transcript"] for row in rows]
    expected = read_table(manifest, columns=["utterance_id"])["utterance_id"].to_pylist()
    found = Counter(names)
    faults = {
        "without a hypothesis": [name for name in expected if name not in found],
        "with several hypotheses": [name for name, count in found.items() if count > 1],
        "not in the manifest": sorted(set(found) - set(expected)),
    }
    if any(faults.values()):
        raise FaultyInput(
            f"{manifest}: {len(expected)} utterances, {len(names)} hypotheses in {len(files)} files. {_REMEDY}",
            [f"{len(ids)} {what}, e.g. {ids[0]}" for what, ids in faults.items() if ids],
        )
    return {name: " ".join((text or "").split()) for name, text in zip(names, transcripts, strict=True)}
