"""The challenge's scoring steps on submitted files: references normalised and split into units, then meeteval alone.

Slower than `mlcslm.scoring`, and independent of it on purpose: submissions are checked with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from mlcslm.config.languages import Group
from mlcslm.formats.segments import Utterance
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.recordings import map_recordings
from mlcslm.scoring.word_timing import COLLAR
from mlcslm.text.protocols import normalise_reference, split_units

_Segments = list[dict[str, object]]


def score_track_1(
    references: Mapping[str, str], texts: Mapping[str, str], groups: Mapping[str, Group]
) -> dict[str, ErrorCounts]:
    """Counts of each utterance: meeteval's word error rate of texts that are already split into tokens.

    references: raw; texts: as submitted, absent or empty if there is none.
    """
    from meeteval.wer.wer.siso import siso_word_error_rate

    return {
        name: _counts(siso_word_error_rate(official_reference(text, groups[name]), texts.get(name, "")))
        for name, text in references.items()
    }


def score_track_2(
    references: Mapping[str, Sequence[Utterance]], path: Path, groups: Mapping[str, Group], *, jobs: int = 1
) -> dict[str, ErrorCounts]:
    """Counts of each recording: meeteval's tcpWER, collar 5 s, of an STM file as read by meeteval itself.

    references: raw utterances of each recording; all tokens of a recording without a line in the file are deleted.
    """
    from meeteval.io.stm import STM
    from meeteval.wer.wer.time_constrained import tcp_word_error_rate  # noqa: F401  before processes are forked

    given: dict[str, _Segments] = {}
    for segment in STM.parse(path.read_text(encoding="utf-8")).to_seglst():
        given.setdefault(segment["session_id"], []).append(segment)
    tasks = [(_segments(spoken, groups[name]), given.get(name, [])) for name, spoken in references.items()]
    sizes = [len(reference) + len(hypothesis) for reference, hypothesis in tasks]
    return dict(zip(references, map_recordings(_score_recording, tasks, jobs=jobs, sizes=sizes), strict=True))


def official_reference(text: str, group: Group) -> str:
    """A raw reference after steps 1 and 2: normalised, and split into characters if the group is scored in them.

    >>> french = Group("French", "French", "fr", "<LANG_FR>", "word", "")
    >>> official_reference("Ça va, hein ?", french)
    'ça va hein'
    """
    return " ".join(split_units(normalise_reference(text), group.unit))


def _score_recording(task: tuple[_Segments, _Segments]) -> ErrorCounts:
    from meeteval.io.seglst import SegLST
    from meeteval.wer.wer.time_constrained import tcp_word_error_rate

    reference, hypothesis = task
    if not hypothesis:
        length = sum(len(str(segment["words"]).split()) for segment in reference)
        return ErrorCounts(length, length, 0, length, 0)
    return _counts(tcp_word_error_rate(SegLST(reference), SegLST(hypothesis), collar=COLLAR))


def _segments(spoken: Sequence[Utterance], group: Group) -> _Segments:
    return [
        {
            "session_id": utterance.recording,
            "speaker": utterance.speaker,
            "start_time": Decimal(repr(float(utterance.start))),
            "end_time": Decimal(repr(float(utterance.end))),
            "words": official_reference(utterance.text, group),
        }
        for utterance in spoken
    ]


def _counts(rate: object) -> ErrorCounts:
    names = ("errors", "length", "insertions", "deletions", "substitutions")
    return ErrorCounts(*(int(getattr(rate, name)) for name in names))
