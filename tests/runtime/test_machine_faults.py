"""What the system and libraries say of a machine's faults becomes one message; all else stays our own fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlcslm.errors import UserError
from mlcslm.io.files import atomic_path
from mlcslm.runtime.machine_faults import check_results_folder, machine_fault


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "not readable or writable by this user"),
        (errno.ESTALE, "the disk or network drive that holds it does not respond"),
        (errno.EIO, "the disk or network drive that holds it does not respond"),
        (errno.EMFILE, "too many files are open"),
        (errno.ENOMEM, "out of memory"),
    ],
)
def test_what_the_system_says(number: int, what: str) -> None:
    told = machine_fault(OSError(number, os.strerror(number), "some/file"))
    assert told is not None
    assert told.startswith(f"some/file: {what} ({os.strerror(number)}). ")
    assert "run the same command again: finished work is kept" in told


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file"), "full"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out of memory"),
        (RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. "), "resources.data_workers"),
        (RuntimeError("DataLoader worker (pid(s) 17, 18) exited unexpectedly"), "resources.data_workers"),
        (RuntimeError('Could not read enough bytes from file "a.duckdb": attempted'), "a damaged file"),
        (MemoryError(), "out of memory (MemoryError)"),
    ],
)
def test_what_libraries_say(error: Exception, what: str) -> None:
    assert what in (machine_fault(error) or "")


def test_what_it_came_from_is_looked_at() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "a")
        except OSError as error:
            raise RuntimeError("the database is closed") from error
    except RuntimeError as error:
        assert (machine_fault(error) or "").startswith("a: the disk is full")


@pytest.mark.parametrize("error", [KeyError("a"), ZeroDivisionError(), OSError("of no number"), ValueError("full")])
def test_our_own_faults_are_none_of_the_machine(error: Exception) -> None:
    assert machine_fault(error) is None


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    for filename in (None, "temporary"):
        with pytest.raises(OSError) as raised, atomic_path(tmp_path / "a.bin") as temporary:
            error = OSError(errno.ENOSPC, "No space left on device")
            error.filename = filename and str(temporary)
            raise error
        assert (machine_fault(raised.value) or "").startswith(f"{tmp_path}/a.bin: the disk is full")


def test_a_results_folder_is_made_or_refused(tmp_path: Path) -> None:
    check_results_folder(tmp_path / "new" / "results")
    assert not list((tmp_path / "new" / "results").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: is not a folder"):
        check_results_folder(tmp_path / "file")
    with pytest.raises(UserError, match="file/results: missing or of the wrong kind"):
        check_results_folder(tmp_path / "file" / "results")
