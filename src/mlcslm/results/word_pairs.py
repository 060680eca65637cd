"""Which reference words each system heard as what: pairs of aligned tokens, counted, into `results.duckdb`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import duckdb
import pyarrow as pa

from mlcslm.config.languages import Group
from mlcslm.runtime.progress import watched
from mlcslm.text.alignment import pair_units
from mlcslm.text.protocols import Protocol

Aligned = list[tuple[str, str]]
"""(reference, hypothesis) tokens of an utterance; "" where one side has nothing."""
_PAIRS = pa.schema(
    [*((name, pa.string()) for name in ("system", "split", "grp", "reference", "hypothesis")), ("count", pa.int32())]
)


def insert_token_pairs(connection: duckdb.DuckDBPyConnection, protocol: Protocol) -> None:
    """Fill `token_pairs` with the aligned tokens of every system and split scored under `protocol`.

    The alignment is that of `pair_units`, so that errors are as many, and of the kinds, as in `asr_counts`.
    """
    scored = connection.execute(
        "SELECT DISTINCT system, split FROM asr_counts WHERE protocol = ? ORDER BY ALL", [protocol.name]
    ).fetchall()
    for system, split in watched(scored, "counting confused words", "system"):
        pairs: Counter[tuple[str, str, str]] = Counter()
        for _, group, aligned in aligned_utterances(connection, system, split, protocol):
            pairs.update((group, *pair) for pair in aligned)
        rows = [
            (system, split, group, meant or None, heard or None, count)
            for (group, meant, heard), count in sorted(pairs.items())
        ]
        columns = list(zip(*rows, strict=True)) or [()] * len(_PAIRS)
        connection.register("staged", pa.table(dict(zip(_PAIRS.names, map(list, columns), strict=True)), schema=_PAIRS))
        connection.execute("INSERT INTO token_pairs SELECT * FROM staged")
        connection.unregister("staged")


def aligned_utterances(
    connection: duckdb.DuckDBPyConnection, system: str, split: str, protocol: Protocol, groups: Iterable[str] = ()
) -> Iterator[tuple[str, str, Aligned]]:
    """Id, group and aligned tokens of every utterance that a system was scored on, in the manifest's order.

    groups: only of these; all by default. A missing hypothesis deletes all tokens.
    """
    known = {row[0]: Group(*row) for row in connection.execute("FROM groups").fetchall()}
    found = connection.execute(
        "SELECT u.utterance_id, u.grp, u.text, h.transcript FROM utterances AS u "
        "SEMI JOIN (FROM asr_counts WHERE system = $system AND protocol = $protocol) USING (split, utterance_id) "
        "LEFT JOIN (FROM hypotheses WHERE system = $system) AS h USING (split, utterance_id) "
        "WHERE split = $split AND (len($groups) = 0 OR list_contains($groups, u.grp)) ORDER BY u.rowid",
        {"system": system, "split": split, "protocol": protocol.name, "groups": list(groups)},
    )
    for name, group, text, transcript in found.fetchall():
        meant = protocol.reference_tokens(text or "", known[group])
        heard = protocol.hypothesis_tokens(transcript or "", known[group])
        yield name, group, list(zip(meant, heard, strict=True)) if meant == heard else pair_units(meant, heard)
