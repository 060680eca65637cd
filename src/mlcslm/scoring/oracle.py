"""Oracles: the errors that remain if a judge who knows the reference chooses among an utterance's candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mlcslm.config.languages import Group, read_languages
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.wer import align_counts, check_hypothesis_ids
from mlcslm.scoring.wer_counts import check_texts, groups_of_rows, read_rows
from mlcslm.text.protocols import Protocol


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
    check_hypothesis_ids(candidates, references, source)
    counts = {}
    for utterance_id, text in references.items():
        group = groups[utterance_id]
        meant = protocol.reference_tokens(text, group)
        texts = dict.fromkeys(one or "" for one in (candidates.get(utterance_id) or [""])[:first])
        options = [align_counts(meant, protocol.hypothesis_tokens(one, group)) for one in texts]
        counts[utterance_id] = min(options, key=lambda option: option.errors)
    return counts


def score_oracle(
    manifest: Path, hypotheses: Path, protocol: Protocol, languages: Path, *, first: int | None = None
) -> dict[str, ErrorCounts]:
    """`oracle_counts` of the utterances of `manifest`, by id, in the manifest's order.

    hypotheses: a file with a column `candidates`, as decodings with `method: consensus` write it. Raises UserError or
    FaultyInput as `score_hypotheses` does.
    """
    rows = read_rows(manifest, ("utterance_id", "grp", "text"))
    decoded = read_rows(hypotheses, ("utterance_id", "candidates"))
    check_texts(manifest, rows)
    groups = groups_of_rows(rows, read_languages(languages), manifest, languages)
    references = dict(zip(rows["utterance_id"], rows["text"], strict=True))
    candidates = {utterance_id: found or [""] for utterance_id, found in zip(*decoded.values(), strict=True)}
    return oracle_counts(references, candidates, protocol, groups, first=first, source=str(hypotheses))
