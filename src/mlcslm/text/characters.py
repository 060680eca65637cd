"""What CTC spells: a transcript's characters."""

from __future__ import annotations

import unicodedata

from mlcslm.text.protocols import normalise_reference


def characters(text: str) -> str:
    """The characters of `text` as references are scored under `mlcslm-2025`, with Korean syllables decomposed (NFD).

    >>> characters("Yes, of course.")
    'yes of course'
    """
    plain = normalise_reference(text)
    return "".join(unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c for c in plain)
