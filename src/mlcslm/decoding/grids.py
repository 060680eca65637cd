"""Grids: the decodings that a table compares on one checkpoint. Whichever of their jobs runs first does all it can.

The first job loads the model once and runs decoding after decoding; what it makes for others is kept, and their jobs
take it. Jobs that run at the same time share the work: a lock a decoding says who is at it. So a grid is one job's work
on one core, and several jobs' where there are more, and a decoding that changes is made anew by its job alone.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.hypothesis_files import is_finished, provenance, reuse_finished, rows_to_decode
from mlcslm.workflow.layout import Layout


def grid_of(layout: Layout, checkpoint: str, decoding: str, split: str) -> list[str]:
    """Names of the decodings that a table measures of `checkpoint` on `split` beside `decoding`, itself first.

    Of tables, the first that has it; without one it is alone.
    """
    for table in layout.tables:
        names = [name for of, name, on in layout.measured(table) if (of, on) == (checkpoint, split)]
        if decoding in names:
            return list(dict.fromkeys([decoding, *names]))
    return [decoding]


@dataclass(frozen=True)
class Grid:
    """The decodings of one checkpoint, split and shard that are made together, `names`, the job's own first."""

    layout: Layout
    checkpoint: str
    split: str
    shard: str
    names: list[str]

    def collect(self, out: Path) -> bool:
        """Move the own decoding's hypotheses to `out`, its job's output, if they exist; False where they do not."""
        own = self.names[0]
        return reuse_finished(self._pending(own), out, *self._expected(own))

    def missing(self) -> Iterator[tuple[Path, DecodingConfig]]:
        """Decodings to make now, each with the file to write: those that are not there and that no other job is at.

        The most expensive come first, so that jobs end together. The last is the own decoding, if another job was at it
        and has not made it. Who asks for the next of these has written the file before.
        """
        decodings = self.layout.config.decodings
        for name in sorted(self.names, key=lambda name: -decodings[name].beams * decodings[name].max_new_tokens):
            yield from self._unless_there(name, wait=False)
        yield from self._unless_there(self.names[0], wait=True)

    def _unless_there(self, name: str, wait: bool) -> Iterator[tuple[Path, DecodingConfig]]:
        pending = self._pending(name)
        done = self.layout.shard_hypotheses(self.checkpoint, name, self.split, self.shard)
        with _lock(pending.with_suffix(".lock"), wait) as locked:
            expected = self._expected(name)
            if locked and not any(is_finished(path, *expected) for path in (done, pending)):
                yield pending, self.layout.config.decodings[name]

    def _expected(self, name: str) -> tuple[dict[str, str], list[dict]]:
        """What a decoding's hypotheses are to be made by, and which utterances they are to answer."""
        folder, manifest = self.layout.checkpoint(self.checkpoint), self.layout.manifest(self.split)
        by = provenance(folder, manifest, self.layout.config.decodings[name])
        return by, rows_to_decode(manifest, self.layout.shards()[self.shard])

    def _pending(self, name: str) -> Path:
        return self.layout.pending_hypotheses(self.checkpoint, name, self.split, self.shard)


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock `path`; False where another process holds it and there is to be no waiting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
