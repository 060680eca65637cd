"""Scoring protocols: how a reference and a hypothesis become the tokens that an error rate counts.

`mlcslm-2025` is the MLC-SLM 2025 challenge's published scoring; `whisper-norm` applies Whisper's own text normaliser to
both sides. Hypotheses are stored raw; a protocol is applied only when they are scored.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mlcslm.config.languages import Group
from mlcslm.errors import UserError
from mlcslm.text.normalisation_whisper import normalise_whisper

PROTOCOLS = ("mlcslm-2025", "whisper-norm")
NORMALISED = "+normalised-hypothesis"

# The challenge's list. Apostrophes, hyphens, dashes, … « » 「」 （ ） ： ； 〜 ° are not in it, so they stay.
DELETED_CHARACTERS = '!"#$%&()*+,./:;<=>?@[\\]^_`{|}~。、？！・¿¡，'

# The challenge's ranges, first and last code point.
CHARACTER_RANGES = (
    (0x0E00, 0x0E7F),  # Thai, vowel and tone marks included
    (0x1100, 0x11FF),  # Hangul jamo (what NFD makes of Korean)
    (0x2E80, 0xA4CF),  # CJK radicals to Yi: kana, CJK punctuation (3000-303F) and ideographs among them
    (0xA840, 0xD7AF),  # to the end of the Hangul syllables
    (0xF900, 0xFAFF),  # CJK compatibility ideographs
    (0xFE30, 0xFE4F),  # CJK compatibility forms
    (0xFF01, 0xFF60),  # full-width ASCII
    (0xFF65, 0xFFDC),  # half-width katakana and jamo
    (0x20000, 0x2FFFF),  # supplementary ideographs
)

Normaliser = Callable[[str, Group], str]
Unit = Literal["word", "character"]

_DELETION = str.maketrans("", "", DELETED_CHARACTERS)
_CHARACTER = re.compile("([" + "".join(f"{chr(first)}-{chr(last)}" for first, last in CHARACTER_RANGES) + "])")


@dataclass(frozen=True)
class Protocol:
    """How texts become tokens.

    name: the label of results; normalise_hypothesis: whether hypotheses are normalised like references;
    reference_normaliser, hypothesis_normaliser: (text, group) to normalised text.
    """

    name: str
    normalise_hypothesis: bool
    reference_normaliser: Normaliser
    hypothesis_normaliser: Normaliser

    def reference_tokens(self, text: str, group: Group) -> list[str]:
        """Tokens of a raw reference: words, or characters and Latin or digit runs, depending on the group's unit."""
        return split_tokens(self.reference_normaliser(text, group), group)

    def hypothesis_tokens(self, text: str, group: Group) -> list[str]:
        """Tokens of a raw hypothesis, in the same unit as the reference's."""
        return split_tokens(self.hypothesis_normaliser(text, group), group)


def get_protocol(name: str, normalise_hypothesis: bool = False) -> Protocol:
    """Protocol called `name`, one of `PROTOCOLS`; raises UserError for another name.

    With `normalise_hypothesis`, `mlcslm-2025` normalises hypotheses like references, which the challenge does not, and
    is called `mlcslm-2025+normalised-hypothesis`, a name also accepted here. `whisper-norm` always normalises both.
    """
    if name == f"mlcslm-2025{NORMALISED}":
        name, normalise_hypothesis = "mlcslm-2025", True
    if name == "mlcslm-2025":
        if normalise_hypothesis:
            return Protocol(f"{name}{NORMALISED}", True, _normalise_mlcslm, _normalise_mlcslm)
        return Protocol(name, False, _normalise_mlcslm, _keep)
    if name == "whisper-norm":
        return Protocol(name, True, _normalise_whisper, _normalise_whisper)
    near = difflib.get_close_matches(name, PROTOCOLS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"Found scoring protocol {name!r}, expected one of: {', '.join(PROTOCOLS)}.{hint}")


def normalise_reference(text: str) -> str:
    """`text` as the challenge normalises references and training targets: lower case, its list of punctuation removed.

    There is deliberately no Unicode normalisation: it would change how many characters a reference has.

    >>> normalise_reference(" Hello,  World… it's 3.5 ! ")
    "hello world… it's 35"
    """
    return " ".join(" ".join(text.split()).lower().translate(_DELETION).split())


def split_tokens(text: str, group: Group) -> list[str]:
    """Words of `text`; for a group counted in characters, each character in `CHARACTER_RANGES` is its own token.

    Runs of other characters (Latin letters, digits) stay whole, so such a group's tokens vary in size.

    >>> split_tokens("DVDを2枚 ok", Group("Japanese", "Japanese", "ja", "<LANG_JP>", "character", ""))
    ['DVD', 'を', '2', '枚', 'ok']
    """
    return split_units(text, group.unit)


def split_units(text: str, unit: Unit) -> list[str]:
    """`split_tokens` for a known unit instead of a group.

    >>> split_units("DVDを2枚 ok", "word")
    ['DVDを2枚', 'ok']
    """
    if unit == "character":
        text = _CHARACTER.sub(r" \1 ", text)
    return text.split()


def _normalise_mlcslm(text: str, group: Group) -> str:
    return normalise_reference(text)


def _normalise_whisper(text: str, group: Group) -> str:
    return normalise_whisper(text, group.language)


def _keep(text: str, group: Group) -> str:
    return text
