"""A stretch of a session in which one speaker speaks: what passes between the parts of the diarization."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Segment:
    """`start` to `end` of a session, in seconds, and who speaks; no name until the clustering has given one."""

    start: float
    end: float
    speaker: str = ""

    @property
    def duration(self) -> float:
        """Seconds.

        >>> Segment(1.5, 4.0).duration
        2.5
        """
        return self.end - self.start
