"""Two at once: a second speaker for the time in which a detector hears two, added to turns of one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mlcslm.formats.segments import Segment


def with_second_speakers(
    turns: Sequence[Segment], overlaps: Iterable[tuple[float, float]], max_segment_s: float = float("inf")
) -> list[Segment]:
    """The turns, and for each of the `overlaps` (start, end in seconds) the other speaker who is nearest in time.

    turns: disjoint, in order. Who is interrupted speaks on for a moment, and who interrupts began a moment ago: of two
    at once, the second is nearly always the one who spoke last or speaks next (Otterson and Ostendorf, "Efficient use
    of overlap information in speaker diarization", ASRU 2007). Time that touches a turn of that speaker extends it,
    unless it would become longer than `max_segment_s`. Each speaker's own turns stay disjoint; all are in order.

    >>> with_second_speakers([Segment(0, 4, "S1"), Segment(4, 9, "S2")], [(3.5, 4.2)])
    [Segment(start=0, end=4.2, speaker='S1'), Segment(start=3.5, end=9, speaker='S2')]
    """
    by_speaker: dict[str, list[Segment]] = {}
    for turn in turns:
        by_speaker.setdefault(turn.speaker, []).append(turn)
    for added in _second(turns, overlaps):
        by_speaker[added.speaker].append(added)
    return sorted(turn for own in by_speaker.values() for turn in _joined(sorted(own), set(turns), max_segment_s))


def _second(turns: Sequence[Segment], overlaps: Iterable[tuple[float, float]]) -> Iterator[Segment]:
    """For each piece of a turn in which two speak, a turn of the other one."""
    for first, last in overlaps:
        for number, turn in enumerate(turns):
            start, end = max(first, turn.start), min(last, turn.end)
            if start >= end:
                continue
            middle = (start + end) / 2
            before = next((one for one in reversed(turns[:number]) if one.speaker != turn.speaker), None)
            after = next((one for one in turns[number + 1 :] if one.speaker != turn.speaker), None)
            if near := [one for one in (before, after) if one is not None]:
                other = min(near, key=lambda one: max(one.start - middle, middle - one.end))
                yield Segment(start, end, other.speaker)


def _joined(own: Sequence[Segment], given: set[Segment], max_segment_s: float) -> list[Segment]:
    """A speaker's disjoint turns, with what was added joined to the neighbours it touches.

    Given turns that touch, the pieces of a longer one, stay apart.
    """
    joined: list[tuple[Segment, bool]] = []  # a turn, and whether it is given as it is
    for turn in own:
        as_given = turn in given
        if joined:
            last, last_given = joined[-1]
            if last.end == turn.start and not (as_given and last_given) and turn.end - last.start <= max_segment_s:
                joined[-1] = (Segment(last.start, turn.end, turn.speaker), as_given or last_given)
                continue
        joined.append((turn, as_given))
    return [turn for turn, _ in joined]
