"""Error counts of every utterance of a manifest, from the hypotheses of one decoding, Parquet to Parquet."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlcslm.config.languages import Group, read_languages
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.io.parquet import read_table, write_table
from mlcslm.scoring.wer import MAX_LISTED_IDS, score_texts
from mlcslm.text.protocols import Protocol, get_protocol

COUNTS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("system", "split", "protocol", "utterance_id", "session_id", "grp")),
        *(pa.field(name, pa.int32()) for name in ("length", "errors", "insertions", "deletions", "substitutions")),
    ]
)


def score_hypotheses(
    manifest: Path,
    hypotheses: Path,
    out: Path,
    *,
    system: str,
    split: str,
    protocol: str,
    normalise_hypothesis: bool,
    languages: Path,
) -> None:
    """Write to `out` the error counts (`COUNTS_SCHEMA`) of every utterance of `manifest`, in the manifest's order.

    An utterance with no hypothesis, or a null one, counts as deletions. Raises UserError or FaultyInput for missing
    files or columns, repeated ids, references without text, groups that `languages` lacks, and hypotheses without a
    reference.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    rows = read_rows(manifest, ("utterance_id", "session_id", "grp", "text"))
    decoded = read_rows(hypotheses, ("utterance_id", "transcript"))
    check_texts(manifest, rows)
    ids = rows["utterance_id"]
    transcripts = dict(zip(decoded["utterance_id"], decoded["transcript"], strict=True))
    groups = groups_of_rows(rows, read_languages(languages), manifest, languages)
    table = count_utterances(rows, transcripts, groups, chosen, system=system, split=split, source=str(hypotheses))
    if missing := sum(transcripts.get(utterance_id) is None for utterance_id in ids):
        logging.getLogger(__name__).warning(
            "%s: no hypothesis for %d of %d utterances: they count as deletions", hypotheses, missing, len(ids)
        )
    write_table(table, out)


def count_utterances(
    rows: Mapping[str, list[Any]],
    transcripts: Mapping[str, str | None],
    groups: Mapping[str, Group],
    protocol: Protocol,
    *,
    system: str,
    split: str,
    source: str,
) -> pa.Table:
    """Error counts (`COUNTS_SCHEMA`) of every utterance of a manifest's rows, in their order.

    rows: columns utterance_id, session_id, grp and text; transcripts: by utterance id, absent or None without a
    hypothesis; groups: by utterance id; source: of the hypotheses, for messages. Raises FaultyInput for hypotheses
    without a reference.
    """
    ids = rows["utterance_id"]
    counts = score_texts(
        dict(zip(ids, rows["text"], strict=True)),
        {utterance_id: text or "" for utterance_id, text in transcripts.items()},
        protocol,
        groups,
        source=source,
    )
    if list(counts) != ids:
        raise RuntimeError(f"{source}: {len(counts)} of {len(ids)} references were scored, or in another order.")
    columns = {
        "system": [system] * len(ids),
        "split": [split] * len(ids),
        "protocol": [protocol.name] * len(ids),
        **{name: rows[name] for name in ("utterance_id", "session_id", "grp")},
        **{name: [getattr(count, name) for count in counts.values()] for name in COUNTS_SCHEMA.names[6:]},
    }
    return pa.table(columns, schema=COUNTS_SCHEMA)


def read_rows(path: Path, columns: Sequence[str]) -> dict[str, list[Any]]:
    """`columns` of a Parquet file as lists, `utterance_id` among them.

    Raises UserError for a missing file, one that is not Parquet and missing columns, FaultyInput for repeated ids.
    """
    rows = read_table(path, columns).to_pydict()
    repeated = [utterance_id for utterance_id, times in Counter(rows["utterance_id"]).items() if times > 1]
    if repeated:
        found = shortened(repeated, MAX_LISTED_IDS)
        raise FaultyInput(f"{path}: {len(repeated)} utterance ids occur more than once:", found)
    return rows


def check_texts(manifest: Path, rows: Mapping[str, list[Any]]) -> None:
    """Raise FaultyInput if the manifest has utterances without a reference text, as in an unlabelled test set."""
    unlabelled = [uid for uid, text in zip(rows["utterance_id"], rows["text"], strict=True) if text is None]
    if unlabelled:
        raise FaultyInput(
            f"{manifest}: {len(unlabelled)} of {len(rows['text'])} utterances have no reference text (transcripts of "
            "three columns?), so the split cannot be scored:",
            shortened(unlabelled, MAX_LISTED_IDS),
        )


def groups_of_rows(
    rows: Mapping[str, list[Any]], languages_table: dict[str, Group], manifest: Path, languages: Path
) -> dict[str, Group]:
    """Group of each utterance of the manifest, by id. Raises UserError for groups that the languages table lacks."""
    if unknown := sorted(set(rows["grp"]) - set(languages_table)):
        raise UserError(
            f"{manifest}: found groups {', '.join(unknown)}, which {languages} does not list; add them to it."
        )
    return {uid: languages_table[group] for uid, group in zip(rows["utterance_id"], rows["grp"], strict=True)}
