"""Grids: the decodings that a table compares on one checkpoint. Whichever job runs first does as many as it can.

The first job loads the model once and runs decoding after decoding; what it makes for the other jobs is kept, and they
reuse it. Jobs that run at the same time share the work, with a lock per decoding. So on one core a single job does a
whole grid, on several cores several jobs do, and a changed decoding is redone by its own job alone.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.engine_environment import EngineInfo, read_engine
from mlcslm.decoding.hypothesis_files import is_finished, provenance, reuse_finished, rows_to_decode
from mlcslm.workflow.layout import Layout


def grid_of(layout: Layout, checkpoint: str, decoding: str, split: str) -> list[str]:
    """Names of the decodings that a table measures on `checkpoint` and `split` alongside `decoding`, which comes first.

    The first table that has it decides; if none has, it is alone. Those that need a CTC head or an engine are kept
    apart from those that do not, and so do not wait for it.
    """
    decodings = layout.config.decodings
    for table in layout.tables:
        names = [name for of, name, on in layout.measured(table) if (of, on) == (checkpoint, split)]
        if decoding in names:
            alike = [name for name in names if _needs(decodings[name]) == _needs(decodings[decoding])]
            return list(dict.fromkeys([decoding, *alike]))
    return [decoding]


def _needs(decoding: DecodingConfig) -> tuple[bool, str]:
    return decoding.needs_ctc_head, decoding.engine


@dataclass(frozen=True)
class Grid:
    """Decodings `names` of one checkpoint, split and shard that are run together, the job's own first."""

    layout: Layout
    checkpoint: str
    split: str
    shard: str
    names: list[str]

    def collect(self, out: Path) -> bool:
        """Move the job's own hypotheses to `out`, its output, if they exist; False if they do not."""
        own = self.names[0]
        return reuse_finished(self._pending(own), out, *self._expected(own))

    def missing(self) -> Iterator[tuple[Path, DecodingConfig]]:
        """Decodings to run now, each with the file to write: those that are missing and that no other job is running.

        The most expensive come first, so that jobs end together. The job's own decoding comes last if another job was
        running it but did not finish. Requesting the next one means that the previous file has been written.
        """
        decodings = self.layout.config.decodings
        for name in sorted(self.names, key=lambda name: -decodings[name].rows * decodings[name].max_new_tokens):
            yield from self._if_missing(name, wait=False)
        yield from self._if_missing(self.names[0], wait=True)

    def _if_missing(self, name: str, wait: bool) -> Iterator[tuple[Path, DecodingConfig]]:
        pending = self._pending(name)
        done = self.layout.shard_hypotheses(self.checkpoint, name, self.split, self.shard)
        with _lock(pending.with_suffix(".lock"), wait) as locked:
            expected = self._expected(name)
            if locked and not any(is_finished(path, *expected) for path in (done, pending)):
                yield pending, self.layout.config.decodings[name]

    def _expected(self, name: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
        """Expected provenance of a decoding's hypotheses, and the utterances they should answer."""
        folder, manifest = self.layout.checkpoint(self.checkpoint), self.layout.manifest(self.split)
        card = self.layout.ctc_file(self.checkpoint, name)
        ctc = Path(card[0]).parent if card else None
        heard = [Path(file) for file in self.layout.first_pass_hypotheses(self.checkpoint, self.split)]
        expected = provenance(folder, manifest, self.layout.config.decodings[name], ctc, self.engine(name), heard)
        return expected, rows_to_decode(manifest, self.layout.shards()[self.shard])

    def engine(self, name: str) -> EngineInfo | None:
        """What runs the language model of a decoding of another engine, which the workflow has found before."""
        found = self.layout.engine_file(name)
        return read_engine(Path(found[0])) if found else None

    def _pending(self, name: str) -> Path:
        return self.layout.pending_hypotheses(self.checkpoint, name, self.split, self.shard)


@contextmanager
def _lock(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock `path`; False if another process holds it and `wait` is False."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
