"""A system's alignments as sclite's files, from `results.duckdb`."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mlcslm.errors import UserError
from mlcslm.formats.sclite import write_alignments, write_trn
from mlcslm.io.files import atomic_folder
from mlcslm.results.database import open_database
from mlcslm.results.settings import config_protocol
from mlcslm.results.word_pairs import aligned_utterances

REFERENCES, ANSWERS, ALIGNMENTS = "ref.trn", "hyp.trn", "hyp.prf"


@dataclass(frozen=True)
class Exported:
    """What was written: utterances, and their errors and reference tokens."""

    utterances: int
    errors: int
    length: int


def export_alignments(
    database: Path,
    system: str,
    folder: str | os.PathLike[str],
    *,
    split: str,
    groups: Collection[str] = (),
    force: bool = False,
) -> Exported:
    """Write `ref.trn`, `hyp.trn` and `hyp.prf` of a system on a split into `folder`, new or of an earlier run.

    Texts are the tokens that the results' protocol scores; groups: only of these, all by default; force: replace the
    folder even if files were added to it. Raises UserError if the system was not scored on the split, or in these
    groups.
    """
    with open_database(database) as connection:
        protocol = config_protocol(connection)
        speakers = dict(
            connection.execute(
                "SELECT utterance_id, session_id || '-' || speaker FROM utterances WHERE split = ?", [split]
            ).fetchall()
        )
        found = list(aligned_utterances(connection, system, split, protocol, groups))
        scored = connection.execute(
            "SELECT DISTINCT system FROM primary_counts WHERE split = ? ORDER BY ALL", [split]
        ).fetchall()
        of_recordings = connection.execute(
            "SELECT system FROM session_errors WHERE system = ? AND split = ?", [system, split]
        ).fetchone()
    if not found and of_recordings and (system,) not in scored:
        raise UserError(
            f"{database}: {system} was scored by recording (Track 2), and alignments are of utterances (Track 1). If "
            "it transcribed the reference's own segments, evaluate it under another name with --track 1."
        )
    if not found:
        known = ", ".join(name for (name,) in scored) or "none, as nothing was scored on this split"
        asked = f"{system} on {split}{' in ' + ', '.join(groups) if groups else ''}"
        raise UserError(f"{database}: no scores of {asked}; expected one of: {known}.")
    with atomic_folder(folder, "folder of alignments", force=force, inputs=[database]) as temporary:
        for file, side in ((REFERENCES, 0), (ANSWERS, 1)):
            write_trn(
                temporary / file, {name: filter(None, (pair[side] for pair in pairs)) for name, _, pairs in found}
            )
        spoken = [(speakers[name], name, pairs) for name, _, pairs in found]
        write_alignments(temporary / ALIGNMENTS, system, spoken)
    pairs = [pair for _, _, aligned in found for pair in aligned]
    return Exported(len(found), sum(meant != heard for meant, heard in pairs), sum(bool(meant) for meant, _ in pairs))
