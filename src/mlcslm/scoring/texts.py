"""Error counts of two Kaldi text files, for people who bring hypotheses of their own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.languages import Group, group_of_utterance, read_languages
from mlcslm.scoring.error_counts import ErrorCounts, pool
from mlcslm.scoring.kaldi_text import read_kaldi_text
from mlcslm.scoring.run_ons import count_run_ons
from mlcslm.scoring.wer import SHOWN_IDS, score_texts
from mlcslm.text.protocols import get_protocol


def score_kaldi_texts(
    reference: Path, hypothesis: Path, protocol: str, languages: Path, *, normalise_hypothesis: bool = False
) -> dict[str, Any]:
    """Pooled error counts of `hypothesis` against `reference` as a value that JSON can hold.

    Keys: protocol; errors, length, insertions, deletions, substitutions, error_rate (a fraction, None without reference
    tokens); utterances, missing_hypotheses; run_ons (utterances, insertions, share_of_insertions); groups, the counts
    and rate of each group that occurs, in the sheet's order. Raises UserError or FaultyInput as its readers do, and for
    an empty reference file and ids of no known group.
    """
    chosen = get_protocol(protocol, normalise_hypothesis)
    sheet = read_languages(languages)
    references, hypotheses = read_kaldi_text(reference), read_kaldi_text(hypothesis)
    if not references:
        raise UserError(f"{reference}: found no utterances, expected `<utterance id> <text>` a line.")
    groups = _groups_of(references, sheet, reference)
    counts = score_texts(references, hypotheses, chosen, groups, source=str(hypothesis))
    run_ons = count_run_ons(count.insertions for count in counts.values())
    by_group: dict[str, list[ErrorCounts]] = {name: [] for name in sheet}
    for utterance_id, count in counts.items():
        by_group[groups[utterance_id].group].append(count)
    return {
        "protocol": chosen.name,
        **_describe(pool(counts.values())),
        "utterances": len(counts),
        "missing_hypotheses": len(references) - len(hypotheses),
        "run_ons": {
            "utterances": run_ons.utterances,
            "insertions": run_ons.insertions,
            "share_of_insertions": run_ons.share,
        },
        "groups": {name: _describe(pool(group_counts)) for name, group_counts in by_group.items() if group_counts},
    }


def _describe(counts: ErrorCounts) -> dict[str, Any]:
    return {
        "errors": counts.errors,
        "length": counts.length,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
        "substitutions": counts.substitutions,
        "error_rate": counts.error_rate,
    }


def _groups_of(ids: Iterable[str], sheet: dict[str, Group], path: Path) -> dict[str, Group]:
    """Group of each utterance, by its id; raises FaultyInput listing the first ten ids of no group."""
    groups: dict[str, Group] = {}
    unknown = []
    for utterance_id in ids:
        try:
            groups[utterance_id] = sheet[group_of_utterance(utterance_id, sheet)]
        except UserError:
            unknown.append(utterance_id)
    if unknown:
        raise FaultyInput(
            f"{path}: {len(unknown)} ids begin with no group of the languages sheet ({', '.join(sheet)}). Expected "
            "`<group>-<session>-<speaker>-<start>-<end>`:",
            shortened(unknown, SHOWN_IDS),
        )
    return groups
