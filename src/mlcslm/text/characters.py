"""What CTC spells: a transcript's characters."""

from __future__ import annotations

import re
import unicodedata

from mlcslm.text.protocols import normalise_reference

_JAMO = re.compile("[\u1100-\u11ff]+")


def characters(text: str) -> str:
    """The characters of `text` as references are scored under `mlcslm-2025`, with Korean syllables decomposed (NFD).

    >>> characters("Yes, of course.")
    'yes of course'
    """
    plain = normalise_reference(text)
    return "".join(unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c for c in plain)


def written(spelled: str) -> str:
    """Text of `spelled` characters: Korean syllables composed again, as far as letters form any, white space collapsed.

    >>> written(characters("그렇죠,  네")), written("  yes of  course ")
    ('그렇죠 네', 'yes of course')
    """
    return " ".join(_JAMO.sub(lambda found: unicodedata.normalize("NFC", found.group()), spelled).split())
