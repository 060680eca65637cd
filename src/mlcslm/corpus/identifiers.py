"""The challenge's names of utterances (Track 1) and recordings (Track 2)."""

from __future__ import annotations

from urllib.parse import quote

from mlcslm.config.languages import Group


def centiseconds(time: float) -> int:
    """`time` (seconds) in centiseconds as the official scripts compute it: rounded first, then truncated.

    The floating-point truncation is part of the published ids, so it is kept (0.29 * 100 is 28.999…).

    >>> centiseconds(0.29), centiseconds(1.680273886484085)
    (28, 168)
    """
    return int(round(time, 2) * 100)


def one_word(name: str) -> str:
    """A session's name as used in ids, with white space and control characters percent-encoded as in URLs.

    White space separates the fields of Kaldi, STM and RTTM files, and terminals obey control characters. The
    challenge's names contain neither and remain unchanged.

    >>> one_word("0517_007"), one_word("; rm -rf x")
    ('0517_007', ';%20rm%20-rf%20x')
    """
    kept = (c if c.isprintable() and not c.isspace() else quote(c, safe="", errors="surrogateescape") for c in name)
    return "".join(kept)


def utterance_id(group: str, session: str, speaker: str, start: float, end: float) -> str:
    """Official Track 1 id `<group>-<session>-<speaker>-<start>-<end>`; `start` and `end` in seconds.

    `group` is a group's name, `session` the session's file name without suffix. Two utterances of one speaker that
    agree to the centisecond get the same id. Source: the challenge baseline's `prepare_segments.py`.

    >>> utterance_id("English-American", "0517_007", "O1", 1.82, 2.76)
    'English-American-0517_007-O1-000182-000276'
    """
    return f"{group}-{one_word(session)}-{speaker}-{centiseconds(start):06d}-{centiseconds(end):06d}"


def recording_id(group: Group, session: str) -> str:
    """Official Track 2 name of a session's recording, `<Language or Accent>_<session>`.

    >>> recording_id(Group("English-American", "English/American", "en", "<LANG_EN>", "word", ""), "0517_007")
    'American_0517_007'
    """
    return f"{group.recording_prefix}_{one_word(session)}"
