"""Where a training stage reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StagePaths:
    """Where a stage reads and writes.

    parent: a checkpoint's folder (None: the foundation models); reasoning: the reflections of template "reasoning".
    """

    out: Path
    work: Path
    manifest: Path
    parent: Path | None = None
    cache: Path | None = None
    noise: Path | None = None
    room_responses: Path | None = None
    reasoning: Path | None = None
