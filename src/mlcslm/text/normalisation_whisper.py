"""Whisper's own text normaliser (Radford et al. 2022, appendix C), as transformers ships it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

SPELLINGS = Path(__file__).with_name("normalisation_whisper_spellings.yaml")


def normalise_whisper(text: str, language: str) -> str:
    """`text` normalised as Whisper's authors do for `language` (ISO 639-1).

    English (`en`) has its own rules for contractions, numbers and spelling; all other languages share one set. It
    composes the text (NFKC), then replaces marks, symbols and punctuation with spaces, Thai vowel and tone marks
    included: that is Whisper's rule, not a choice made here.
    """
    return _normaliser(language == "en")(text).strip()


@functools.cache
def read_spellings() -> dict[str, str]:
    """Whisper's British to American spellings (1,739 words, lower case).

    They are shipped beside this module because transformers only has them in each Whisper tokenizer's folder, and
    scoring should not need a model.
    """
    import yaml

    return yaml.safe_load(SPELLINGS.read_text(encoding="utf-8"))


@functools.cache
def _normaliser(english: bool) -> Callable[[str], str]:
    # Imported here: transformers takes seconds to import, and `mlcslm-2025` does not need it.
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    return EnglishTextNormalizer(read_spellings()) if english else BasicTextNormalizer()
