"""The effect of reflections: errors of the hypothesis inside `<think>`, errors it names, errors of the final answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from mlcslm.config.languages import Group, read_languages
from mlcslm.io.parquet import write_table
from mlcslm.scoring.wer import align_counts
from mlcslm.scoring.wer_counts import groups_of_rows, read_rows
from mlcslm.text.alignment import Edit, align, count_matches
from mlcslm.text.protocols import Protocol, get_protocol, normalise_reference
from mlcslm.text.reflection import Reflection, parse_reflection, units

_KINDS = ("substitutions", "insertions", "deletions")
REFLECTIONS_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("system", "split", "protocol", "utterance_id")),
        *(pa.field(name, pa.int32()) for name in ("first_errors", "final_errors", "length")),
        *(pa.field(f"{whose}_{kind}", pa.int32()) for whose in ("named", "true") for kind in _KINDS),
        pa.field("named_right", pa.int32()),
    ]
)


def write_self_correction(
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
    """Write to `out` one row (`REFLECTIONS_SCHEMA`) per answer with a valid reflection, in the order of the manifest.

    There are no rows if no answer has one. first_errors (of the hypothesis inside `<think>`), final_errors and length
    are counted under `protocol`. Named and true errors, and named ones that are true, are counted under `mlcslm-2025`,
    the protocol of reflections; under it the true ones add up to first_errors. Raises UserError or FaultyInput as
    `score_hypotheses` does.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    rows = read_rows(manifest, ("utterance_id", "grp", "text"))
    decoded = read_rows(hypotheses, ("utterance_id", "transcript", "think"))
    groups = groups_of_rows(rows, read_languages(languages), manifest, languages)
    answers = {
        utterance_id: (transcript or "", reflection)
        for utterance_id, transcript, think in zip(*decoded.values(), strict=True)
        if think is not None and (reflection := parse_reflection(think)) is not None
    }
    table = [
        {
            "system": system,
            "split": split,
            "protocol": chosen.name,
            "utterance_id": utterance_id,
            **_compare(text, *answers[utterance_id], chosen, groups[utterance_id]),
        }
        for utterance_id, text in zip(rows["utterance_id"], rows["text"], strict=True)
        if utterance_id in answers
    ]
    write_table(pa.Table.from_pylist(table, schema=REFLECTIONS_SCHEMA), out)


def _compare(text: str, transcript: str, reflection: Reflection, protocol: Protocol, group: Group) -> dict[str, Any]:
    meant = protocol.reference_tokens(text, group)
    first = align_counts(meant, protocol.hypothesis_tokens(reflection.hypothesis, group))
    final = align_counts(meant, protocol.hypothesis_tokens(transcript, group))
    true = align(units(normalise_reference(text), group.unit), units(reflection.hypothesis, group.unit))
    return {
        "first_errors": first.errors,
        "final_errors": final.errors,
        "length": first.length,
        **_by_kind("named", reflection.edits),
        **_by_kind("true", true),
        "named_right": count_matches(reflection.edits, true),
    }


def _by_kind(whose: str, edits: Iterable[Edit]) -> dict[str, int]:
    counts = Counter(f"{edit.kind}s" for edit in edits)
    return {f"{whose}_{kind}": counts[kind] for kind in _KINDS}
