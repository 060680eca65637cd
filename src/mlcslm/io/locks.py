"""One process at a time: locks that are released when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from mlcslm.io.places import resolved

_held: dict[str, int] = {}


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make other processes that request the same lock on `path` wait until this block ends.

    The lock is on a file beside it with the suffix `.lock`, and is released when the process ends, however it ends; a
    process may take it again while it holds it. Waiting is announced on standard error. If the file system does not
    support locks (some NFS mounts), a message says so and nobody waits.
    """
    path = resolved(Path(path))
    name = str(path)
    if _held.get(name):
        _held[name] += 1
        try:
            yield
        finally:
            _held[name] -= 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Never removed: a waiting process would then hold a lock on a file that nobody else finds.
    with open(path.with_suffix(".lock"), "a+", encoding="utf-8") as lock:
        _lock(lock, path)
        _held[name] = 1
        try:
            yield
        finally:
            del _held[name]


def _lock(lock: TextIO, path: Path) -> None:
    """Lock an open file for `exclusive`, and record the holder in it."""
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            who = f"process {holder}" if holder else "another process"
            print(f"mlcslm: {path}: {who} is writing it; waiting until it has finished", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise
        print(
            f"mlcslm: {path}: its file system does not support locks ({error.strerror}); run one command at a time",
            file=sys.stderr,
            flush=True,
        )
        return
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
