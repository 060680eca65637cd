"""Machine faults, reported like user mistakes: a full disk, a lost drive, no memory, a killed process.

They arrive as exceptions from many libraries; each becomes one message: what happened, where, and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlcslm.errors import UserError

KEPT = "then run the same command again: finished work is kept"

_REMEDIES = {
    "the disk is full": (
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        f"Free space there, or set `results` to a folder on another disk, {KEPT}.",
    ),
    "not readable or writable by this user": (
        (errno.EACCES, errno.EPERM, errno.EROFS),
        f"Give yourself access, or set `results` to a folder of your own, {KEPT}.",
    ),
    "the disk or network drive that holds it does not respond": (
        (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ENODEV),
        f"Nothing needs to be deleted: check that it is mounted and working, {KEPT}.",
    ),
    "missing or of the wrong kind": (
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
        f"If it is on a network drive, check that it is mounted; if it was removed, restore it, {KEPT}.",
    ),
    "too many files are open": (
        (errno.EMFILE, errno.ENFILE),
        f"Allow more with `ulimit -n 4096`, or run fewer jobs at once (--cores), {KEPT}.",
    ),
    "a damaged file": (
        (),
        "Restore a copy, or delete it and run the workflow again to rebuild it.",
    ),
    "out of memory": (
        (errno.ENOMEM,),
        "Run fewer jobs at once (--cores); or lower the batch_size of the stage or decoding, raising a stage's "
        f"accumulation to match; {KEPT}.",
    ),
}
_BY_NUMBER = {number: what for what, (numbers, _) in _REMEDIES.items() for number in numbers}
# Libraries not written in Python put the system's words into exceptions of their own.
_BY_TEXT = {
    os.strerror(number): what for number, what in _BY_NUMBER.items() if number not in (errno.EPERM, errno.ENOENT)
}
_BY_PATTERN = (
    (re.compile(r"PytorchStreamWriter failed writing|file write failed"), "the disk is full"),
    (re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|out of memory", re.I), "out of memory"),
    # DuckDB's wording for its own files.
    (re.compile(r"Corrupt database file|Could not read enough bytes from file"), "a damaged file"),
)
_SPECIAL = re.compile(r"""[\s"'\\$`&|;<>()*?\[\]{}!#~]""")
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (?:exited unexpectedly|is killed by signal)")


def machine_fault(error: BaseException) -> str | None:
    """A one-line message for an exception that the machine caused; None for any other, which is our own fault.

    >>> print(machine_fault(OSError(errno.ENOSPC, "No space left on device", "run/a"))[:55])
    run/a: the disk is full (No space left on device). Free
    >>> machine_fault(ZeroDivisionError()) is None
    True
    """
    for one in _chain(error):
        if _WORKER.search(str(one)):
            return (
                "the system killed a process that prepares batches, most likely for lack of memory. Lower "
                f"resources.data_workers, {KEPT}."
            )
        what = _kind(one)
        if what is not None:
            return f"{_place(one)}{what} ({_first_line(one)}). {_REMEDIES[what][1]}"
    return None


def check_results_folder(root: Path) -> None:
    """Create the results folder `root` if missing; raises UserError if it is not writable."""
    refuse_file(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        error.filename = str(root)
        raise UserError(machine_fault(error) or f"{root}: cannot be written ({error}).") from None


def refuse_file(root: Path) -> None:
    """Raise UserError if the results folder is a file, which would give a traceback from Snakemake."""
    if root.exists() and not root.is_dir():
        raise UserError(
            f"{root}: is not a folder. Move the file away, or set `results` to another name, and run again."
        )


def check_interpreter(python: str) -> None:
    """Raise UserError if a shell would not read the path of `python` as a single word: Snakemake calls it unquoted."""
    if _SPECIAL.search(python):
        raise UserError(
            f"{python}: the path of this Python has a space, a quote or another character that shells treat specially: "
            "every job would fail. Clone mlcslm into a folder without one, or create .venv elsewhere; data and results "
            "may be in such folders."
        )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those it came from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _kind(error: BaseException) -> str | None:
    """What went wrong, a key of `_REMEDIES`, if it was the machine's fault."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in _BY_NUMBER:
        return _BY_NUMBER[error.errno]
    text = str(error)
    known = (what for words, what in _BY_TEXT.items() if words in text)
    return next(known, None) or next((what for pattern, what in _BY_PATTERN if pattern.search(text)), None)


def _place(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
