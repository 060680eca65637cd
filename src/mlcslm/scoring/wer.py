"""Word and character error counts of utterances."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Collection, Mapping, Sequence

import kaldialign

from mlcslm.config.languages import Group
from mlcslm.errors import FaultyInput
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.recordings import difference_in_normalisation
from mlcslm.text.protocols import Protocol

MAX_LISTED_IDS = 10


def align_counts(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Error counts of the alignment of two token sequences.

    Their sum is the Levenshtein distance. The split into insertions, deletions and substitutions depends on the choice
    among equally good alignments: kaldialign's, as in meeteval, which the challenge scores with.

    >>> align_counts("this is wikipedia".split(), "this wikipedia".split())
    ErrorCounts(errors=1, length=3, insertions=0, deletions=1, substitutions=0)
    """
    counts = kaldialign.edit_distance(reference, hypothesis)
    return ErrorCounts(counts["total"], len(reference), counts["ins"], counts["del"], counts["sub"])


def score_texts(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    protocol: Protocol,
    groups: Mapping[str, Group],
    *,
    source: str = "hypotheses",
) -> dict[str, ErrorCounts]:
    """Error counts of every reference, in the order of `references`.

    references, hypotheses: raw text by utterance id; groups: of each reference by utterance id; source: of the
    hypotheses, for messages. A reference without a hypothesis counts as deletions. Raises FaultyInput naming hypotheses
    without a reference.
    """
    check_hypothesis_ids(hypotheses, references, source)
    counts = {}
    for utterance_id, text in references.items():
        group = groups[utterance_id]
        hypothesis = protocol.hypothesis_tokens(hypotheses.get(utterance_id, ""), group)
        counts[utterance_id] = align_counts(protocol.reference_tokens(text, group), hypothesis)
    return counts


def check_hypothesis_ids(hypotheses: Collection[str], references: Collection[str], source: str) -> None:
    """Raise FaultyInput if `hypotheses` has ids that `references` lacks: lists the first ten with the nearest ids."""
    unknown = [utterance_id for utterance_id in hypotheses if utterance_id not in references]
    if not unknown:
        return
    nearest = nearest_ids(unknown[:MAX_LISTED_IDS], references)
    faults = [
        f"{utterance_id}: not among the references"
        + (f"; nearest: {near}{difference_in_normalisation(utterance_id, [near])}" if near else "")
        for utterance_id, near in zip(unknown, nearest, strict=False)
    ]
    if len(unknown) > MAX_LISTED_IDS:
        faults.append(f"… and {len(unknown) - MAX_LISTED_IDS} more")
    raise FaultyInput(
        f"{source}: {len(unknown)} of {len(hypotheses)} hypotheses have no reference. Expected only ids of the "
        f"{len(references)} references; correct or remove:",
        faults,
    )


def nearest_ids(ids: Sequence[str], known: Collection[str]) -> list[str | None]:
    """The id of `known` most similar to each of `ids`, None if none is similar.

    difflib only compares ids that sort near it, read forwards or backwards, so that share its beginning or its end.
    Against all 29,952 ids of the dev set it would take a second per id.
    """
    neighbours = 50
    forwards, backwards = sorted(known), sorted(utterance_id[::-1] for utterance_id in known)
    nearest = []
    for utterance_id in ids:
        candidates = []
        for text, ordered, step in ((utterance_id, forwards, 1), (utterance_id[::-1], backwards, -1)):
            position = bisect.bisect(ordered, text)
            candidates += [near[::step] for near in ordered[max(0, position - neighbours) : position + neighbours]]
        nearest.append(next(iter(difflib.get_close_matches(utterance_id, dict.fromkeys(candidates), n=1)), None))
    return nearest
