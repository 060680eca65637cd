"""A job's log file: a copy of what the job prints, locked as long as the job runs.

A disk that is full or lost ends the log, never the job.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from mlcslm.runtime.secrets import redacted

ONLY_TO_LOG = "MLCSLM_ONLY_TO_LOG"
"""Environment variable: set by whoever shows what jobs write to their logs, so that they don't print it as well."""


@contextlib.contextmanager
def logged(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Copy standard output and error to the file `path` line by line; yields the log, to write to it alone.

    With `ONLY_TO_LOG` in the environment, the log is all they are written to, as long as it can be written.
    """
    streams = sys.stdout, sys.stderr
    log = _Log(path, streams[1])
    quiet = bool(os.environ.get(ONLY_TO_LOG))
    sys.stdout, sys.stderr = (_Tee(stream, log, quiet=quiet) for stream in streams)
    try:
        yield log  # type: ignore[misc]
    finally:
        sys.stdout, sys.stderr = streams
        log.close()


class _Log(io.TextIOBase):
    """The file; after a failed write it is closed, which is reported once on the `terminal`."""

    def __init__(self, path: str | os.PathLike[str], terminal: TextIO) -> None:
        self._path, self._terminal = path, terminal
        self._file: TextIO | None = None
        try:
            self._file = open(path, "w", 1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            # By it `mlcslm status` tells a silent job from a killed one; not every file system has locks.
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._end(error)

    @property
    def is_open(self) -> bool:
        """Whether what is written to it is kept."""
        return self._file is not None

    def write(self, text: str) -> int:
        if self._file is not None:
            try:
                self._file.write(redacted(text))
            except OSError as error:
                self._end(error)
        return len(text)

    def flush(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self._end(error)

    def close(self) -> None:
        self.flush()
        file, self._file = self._file, None
        if file is not None:
            file.close()
        super().close()

    def _end(self, error: OSError) -> None:
        file, self._file = self._file, None
        with contextlib.suppress(OSError):  # closing retries the failed write
            if file is not None:
                file.close()
        print(f"mlcslm: {self._path}: logging stopped ({error.strerror}); the job continues", file=self._terminal)


class _Tee(io.TextIOBase):
    """A stream that writes to a terminal and a log, with secrets redacted; quiet: to the log alone, until it ends."""

    keeps_a_log = True

    def __init__(self, terminal: TextIO, log: _Log, *, quiet: bool = False) -> None:
        self._terminal, self._log, self._quiet = terminal, log, quiet

    def write(self, text: str) -> int:
        self._log.write(redacted(text))
        if not self._quiet or not self._log.is_open:
            self._terminal.write(redacted(text))
        return len(text)

    def flush(self) -> None:
        self._log.flush()
        self._terminal.flush()

    def isatty(self) -> bool:
        return self._terminal.isatty()
