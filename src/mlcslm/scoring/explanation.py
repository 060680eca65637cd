"""Explanations of surprising error rates: how much is due to capitals, punctuation and Unicode normalisation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.text.protocols import Protocol, get_protocol

_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphen, zero-width space, word joiner, byte order mark: invisible, but no scorer skips them."""


def normalising(protocol: Protocol) -> Protocol | None:
    """The protocol that also normalises hypotheses, for comparison; None if `protocol` already does."""
    return None if protocol.normalise_hypothesis else get_protocol(protocol.name, normalise_hypothesis=True)


def describe_normalised(normalised: ErrorCounts, protocol: Protocol) -> dict[str, Any]:
    """Counts under a `normalising` protocol, for JSON."""
    return {"protocol": protocol.name, "errors": normalised.errors, "error_rate": normalised.error_rate}


def explain_normalisation(counts: ErrorCounts, normalised: ErrorCounts, protocol: str) -> str | None:
    """A line on the errors that normalising the hypotheses removes; None if it removes none.

    >>> explain_normalisation(ErrorCounts(2, 8, 0, 0, 2), ErrorCounts(0, 8, 0, 0, 0), "mlcslm-2025")[:52]
    '2 of 2 errors are capitals or punctuation of the hyp'
    """
    if normalised.errors >= counts.errors or not counts.length:
        return None
    removed = counts.errors - normalised.errors
    rates = [100 * errors / counts.length for errors in (counts.errors, normalised.errors)]
    return (
        f"{removed:,} of {counts.errors:,} errors are capitals or punctuation of the hypotheses, which {protocol} does "
        f"not normalise: {rates[0]:.2f} % as written, {rates[1]:.2f} % normalised (--normalise-hypothesis)"
    )


def explain_characters(references: Iterable[str], hypotheses: Iterable[str]) -> list[str]:
    """Lines on characters that make identical-looking texts differ: NFD against NFC, and invisible ones."""
    references, hypotheses = list(references), list(hypotheses)
    return [*_explain_accents(references, hypotheses), *_explain_invisible(references, hypotheses)]


def _explain_invisible(references: list[str], hypotheses: list[str]) -> Iterable[str]:
    for side, texts in (("references", references), ("hypotheses", hypotheses)):
        found = [match for text in texts if (match := _INVISIBLE.search(text))]
        if found:
            yield (
                f"{len(found):,} of {len(texts):,} {side} have invisible characters such as U+{ord(found[0][0]):04X}, "
                "which make words differ that look the same"
            )


def _explain_accents(references: list[str], hypotheses: list[str]) -> Iterable[str]:
    apart = [sum(not unicodedata.is_normalized("NFC", text) for text in texts) for texts in (references, hypotheses)]
    if (apart[0] > 0) == (apart[1] > 0):
        return
    side, other = ("references", "hypotheses") if apart[0] else ("hypotheses", "references")
    yield (
        f"{max(apart):,} {side} have decomposed accents (Unicode NFD), the {other} do not (NFC): they look the same "
        "but count as errors; use one form for both"
    )
