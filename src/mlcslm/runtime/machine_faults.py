"""Faults of the machine, told as a user's mistakes are: a full disk, a lost drive, no memory, a killed process.

They reach us as exceptions of many libraries; each becomes one message of what happened, where, and what to do.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlcslm.errors import UserError

KEPT = "then run the same command again: what is finished is kept"

_REMEDIES = {
    "the disk is full": (
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        f"Free space there, or set `results` to a folder on another disk, {KEPT}.",
    ),
    "not to be written or read by this user": (
        (errno.EACCES, errno.EPERM, errno.EROFS),
        f"Give yourself the right, or set `results` to a folder of your own, {KEPT}.",
    ),
    "the disk or network drive that holds it does not answer": (
        (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ENODEV),
        f"Nothing has to be deleted: see that it is mounted and well, {KEPT}.",
    ),
    "not where it was, or not what it was": (
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR),
        f"If it lies on a network drive, see that it is mounted; if it was removed, put it back, {KEPT}.",
    ),
    "too many files are open": (
        (errno.EMFILE, errno.ENFILE),
        f"Allow more with `ulimit -n 4096`, or run fewer jobs at once (--cores), {KEPT}.",
    ),
    "a damaged file": (
        (),
        "Put back a copy of it, or delete it and run the workflow again, which makes it anew.",
    ),
    "memory is exhausted": (
        (errno.ENOMEM,),
        "Run fewer jobs at once (--cores); or make the batch_size of the stage or decoding smaller, of a stage with as "
        f"much more accumulation; {KEPT}.",
    ),
}
_BY_NUMBER = {number: what for what, (numbers, _) in _REMEDIES.items() for number in numbers}
# Libraries that are not written in Python put the system's words into exceptions of their own kinds.
_BY_TEXT = {
    os.strerror(number): what for number, what in _BY_NUMBER.items() if number not in (errno.EPERM, errno.ENOENT)
}
_BY_PATTERN = (
    (re.compile(r"PytorchStreamWriter failed writing|file write failed"), "the disk is full"),
    (re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory|out of memory", re.I), "memory is exhausted"),
    # DuckDB's words for its own files.
    (re.compile(r"Corrupt database file|Could not read enough bytes from file"), "a damaged file"),
)
_SPECIAL = re.compile(r"""[\s"'\\$`&|;<>()*?\[\]{}!#~]""")
_WORKER = re.compile(r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (?:exited unexpectedly|is killed by signal)")


def machine_fault(error: BaseException) -> str | None:
    """What to tell of an exception that the machine caused, in one line; None for any other: that is our own fault.

    >>> print(machine_fault(OSError(errno.ENOSPC, "No space left on device", "run/a"))[:55])
    run/a: the disk is full (No space left on device). Free
    >>> machine_fault(ZeroDivisionError()) is None
    True
    """
    for one in _chain(error):
        if _WORKER.search(str(one)):
            return (
                "a process that prepares batches was ended by the system, most likely for want of memory. Make "
                f"resources.data_workers smaller, {KEPT}."
            )
        what = _kind(one)
        if what is not None:
            return f"{_place(one)}{what} ({_first_line(one)}). {_REMEDIES[what][1]}"
    return None


def check_results_folder(root: Path) -> None:
    """Make the results folder `root` where there is none; raises UserError where nothing can be written into it."""
    refuse_file(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        error.filename = str(root)
        raise UserError(machine_fault(error) or f"{root}: cannot be written ({error}).") from None


def refuse_file(root: Path) -> None:
    """Raise UserError where a file lies in the place of the results folder; Snakemake would end in a traceback."""
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: is no folder. Move that file away, or set `results` to another name, and run again.")


def check_interpreter(python: str) -> None:
    """Raise UserError where the path of `python` is no single word to a shell: Snakemake calls it unquoted."""
    if _SPECIAL.search(python):
        raise UserError(
            f"{python}: the path of this Python has a space, a quote or another character that shells treat specially: "
            "every job would fail. Clone mlcslm into a folder without one, or make .venv elsewhere; data and results "
            "may lie below such folders."
        )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that it came from."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _kind(error: BaseException) -> str | None:
    """What went wrong, one of `_REMEDIES`, if that was the machine's fault."""
    if isinstance(error, MemoryError):
        return "memory is exhausted"
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
