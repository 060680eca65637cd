"""Oracles: the errors that remain if a judge who knows the reference chooses among an utterance's candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa

from mlcslm.config.languages import Group, read_languages
from mlcslm.io.parquet import write_table
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.wer import align_counts, check_hypothesis_ids
from mlcslm.scoring.wer_counts import check_texts, groups_of_rows, read_rows
from mlcslm.text.protocols import Protocol, get_protocol

ORACLES_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("system", "split", "protocol", "utterance_id")),
        *(pa.field(name, pa.int32()) for name in ("candidates", "length", "errors")),
    ]
)


def oracle_counts(
    references: Mapping[str, str],
    candidates: Mapping[str, Sequence[str | None]],
    protocol: Protocol,
    groups: Mapping[str, Group],
    *,
    first: int | None = None,
    source: str = "candidates",
) -> dict[str, ErrorCounts]:
    """Error counts of the best candidate for every reference, in the order of `references`; of equals, the first.

    references: raw text by utterance id; candidates: raw transcripts by utterance id, None for nothing; groups: by
    utterance id; first: look only at the first so many candidates; source: of the candidates, for messages. A reference
    without candidates counts as deletions. Raises FaultyInput naming candidates without a reference.
    """
    of_each = _counts_of_each(references, candidates, protocol, groups, first=first, source=source)
    return {utterance_id: min(counts, key=lambda one: one.errors) for utterance_id, counts in of_each.items()}


def _counts_of_each(
    references: Mapping[str, str],
    candidates: Mapping[str, Sequence[str | None]],
    protocol: Protocol,
    groups: Mapping[str, Group],
    *,
    first: int | None = None,
    source: str,
) -> dict[str, list[ErrorCounts]]:
    """Error counts of every candidate, in order, by the id of its reference; arguments as of `oracle_counts`."""
    check_hypothesis_ids(candidates, references, source)
    found = {}
    for utterance_id, text in references.items():
        group = groups[utterance_id]
        meant = protocol.reference_tokens(text, group)
        texts = [one or "" for one in (candidates.get(utterance_id) or [""])[:first]]
        distinct = {one: align_counts(meant, protocol.hypothesis_tokens(one, group)) for one in dict.fromkeys(texts)}
        found[utterance_id] = [distinct[one] for one in texts]
    return found


def score_oracle(
    manifest: Path, hypotheses: Path, protocol: Protocol, languages: Path, *, first: int | None = None
) -> dict[str, ErrorCounts]:
    """`oracle_counts` of the utterances of `manifest`, by id, in the manifest's order.

    hypotheses: a file with a column `candidates`, as decodings with `method: consensus` write it. Raises UserError or
    FaultyInput as `score_hypotheses` does.
    """
    return oracle_counts(*_read(manifest, hypotheses, protocol, languages), first=first, source=str(hypotheses))


def _read(
    manifest: Path, hypotheses: Path, protocol: Protocol, languages: Path
) -> tuple[dict[str, str], dict[str, list[str | None]], Protocol, dict[str, Group]]:
    """References, candidates, protocol and groups, as `oracle_counts` takes them."""
    rows = read_rows(manifest, ("utterance_id", "grp", "text"))
    decoded = read_rows(hypotheses, ("utterance_id", "candidates"))
    check_texts(manifest, rows)
    groups = groups_of_rows(rows, read_languages(languages), manifest, languages)
    references = dict(zip(rows["utterance_id"], rows["text"], strict=True))
    candidates = {utterance_id: found or [""] for utterance_id, found in zip(*decoded.values(), strict=True)}
    return references, candidates, protocol, groups


def write_oracles(
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
    """Write to `out` the errors of the best of each utterance's first 1, 2, 4, … candidates, and of all of them.

    Rows (`ORACLES_SCHEMA`) in the manifest's order; `candidates`: of how many, the same numbers for every utterance.
    Raises UserError or FaultyInput as `score_oracle` does.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    of_each = _counts_of_each(*_read(manifest, hypotheses, chosen, languages), source=str(hypotheses))
    among = doublings(max(map(len, of_each.values()), default=1))
    columns: dict[str, list[object]] = {name: [] for name in ORACLES_SCHEMA.names[3:]}
    for utterance_id, counts in of_each.items():
        best = list(accumulate((one.errors for one in counts), min))
        columns["utterance_id"] += [utterance_id] * len(among)
        columns["candidates"] += among
        columns["length"] += [counts[0].length] * len(among)
        columns["errors"] += [best[min(number, len(best)) - 1] for number in among]
    table = {
        name: [value] * len(columns["utterance_id"])
        for name, value in (("system", system), ("split", split), ("protocol", chosen.name))
    }
    write_table(pa.table(table | columns, schema=ORACLES_SCHEMA), out)


def doublings(most: int) -> list[int]:
    """1, 2, 4, … up to `most`, and `most` itself.

    >>> doublings(8), doublings(12), doublings(1)
    ([1, 2, 4, 8], [1, 2, 4, 8, 12], [1])
    """
    return sorted({most, *(2**power for power in range(most.bit_length()))})
