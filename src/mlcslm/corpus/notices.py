"""Notices on accepted but surprising content of a corpus: one line each, with a count and the first names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence, Sized

import numpy as np
import pyarrow as pa

from mlcslm.corpus.faults import visible
from mlcslm.corpus.samples import Samples

ENCODER_WINDOW_S = 30.0
"""Input length of Whisper's encoder."""
_OFFSET = 0.02
# Byte order mark, replacement character, control characters, line separators, direction marks: all invisible, and each
# changes the word it is in. Zero-width joiners and spaces are left out, since some scripts need them.
_INVISIBLE = re.compile("[\ufeff\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e]")


def notices_of(table: pa.Table, samples: Mapping[str, Samples], *, synthetic: bool = False) -> list[str]:
    """Lines on a manifest and on its recordings' samples (by `audio`); empty if there is nothing to report.

    synthetic: of the demo corpus, some of whose voices are off centre; its user can do nothing about it.
    """
    lines = []
    used = set(table["audio"].to_pylist())
    if silent := sorted(path for path in used if path in samples and samples[path].peak == 0):
        lines.append(f"{_count(silent, 'recording')} digital silence (every sample 0): {_some(silent)}")
    offsets = {} if synthetic else {path: samples[path].offset for path in sorted(used) if path in samples}
    if moved := [f"{path} ({100 * one:+.0f} %)" for path, one in offsets.items() if abs(one) >= _OFFSET]:
        what = f"off centre, by {100 * _OFFSET:.0f} % of full scale or more, which detectors of speech may take for"
        lines.append(
            f"{_count(moved, 'recording')} {what} sound (remove it: `sox FILE centred.wav highpass 20`): {_some(moved)}"
        )
    names = table["utterance_id"].to_pylist()
    lengths = table["end"].to_numpy() - table["start"].to_numpy()
    if longest := [f"{names[n]} ({lengths[n]:.1f} s)" for n in np.flatnonzero(lengths > ENCODER_WINDOW_S)]:
        what = f"longer than the encoder's {ENCODER_WINDOW_S:g} s: decoded in pieces split at pauses, not used for"
        lines.append(f"{_count(longest, 'utterance')} {what} training: {_some(longest)}")
    sessions = set(table["session_id"].to_pylist())
    if table.num_rows == len(sessions) and table["text"].null_count == table.num_rows > 0:
        what = "without transcripts: to be diarized and transcribed, not scored"
        lines.append(f"{_count(sorted(sessions), 'session')} {what}: {_some(sorted(sessions))}")
    return lines + _about_texts(names, table["text"].to_pylist())


def code_points(counts: Counter[str]) -> str:
    """Code points of characters that should not be printed, with their counts.

    >>> code_points(Counter("\u00a0\u202f\u00a0"))
    'U+00A0 2 times, U+202F once'
    """
    return ", ".join(
        f"U+{ord(character):04X} {'once' if count == 1 else f'{count:,} times'}"
        for character, count in counts.most_common()
    )


def _about_texts(names: Sequence[str], texts: Sequence[str | None]) -> list[str]:
    lines = []
    given = [(name, text) for name, text in zip(names, texts, strict=True) if text]
    found = {name: invisible for name, text in given if (invisible := _INVISIBLE.findall(text))}
    if found:
        counts = Counter(character for characters in found.values() for character in characters)
        what = f"kept with invisible characters ({code_points(counts)})"
        lines.append(f"{_count(found, 'text')} {what}: {_some(found)}")
    if decomposed := [name for name, text in given if not unicodedata.is_normalized("NFC", text)]:
        what = "kept with decomposed accents (not in Unicode's NFC)"
        lines.append(f"{_count(decomposed, 'text')} {what}: {_some(decomposed)}")
    return lines


def _count(found: Sized, what: str) -> str:
    return f"1 {what} is" if len(found) == 1 else f"{len(found):,} {what}s are"


def _some(names: Sequence[str] | Mapping[str, object]) -> str:
    return visible(", ".join(list(names)[:3])) + (", …" if len(names) > 3 else "")
