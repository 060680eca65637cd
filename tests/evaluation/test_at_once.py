"""Systems added by several processes at once: all of them end up in the database."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mlcslm.io.locks import exclusive
from mlcslm.results import database as collecting
from mlcslm.results.database import collect_database, open_database
from mlcslm.results.evaluate_external import join_results

pytestmark = pytest.mark.slow

MAIN = "import sys; from mlcslm.cli import main; main()"
TEXT = "French-0001_001-O1-000050-000200 ça va\n"


def systems(workspace: Any) -> list[str]:
    with open_database(workspace.root / "results" / "results.duckdb") as connection:
        return [
            name for (name,) in connection.execute("SELECT DISTINCT system FROM session_errors ORDER BY 1").fetchall()
        ]


def test_two_processes_that_add_at_once_keep_both(workspace: Any) -> None:
    given = workspace.write("h.txt", TEXT)
    line = [sys.executable, "-c", MAIN, "evaluate", "--configfile", str(workspace.configfile), str(given), "--name"]
    running = [subprocess.Popen([*line, name], stdout=subprocess.DEVNULL) for name in ("first", "second")]
    assert [process.wait() for process in running] == [0, 0]
    assert systems(workspace) == ["first", "second"]


@pytest.mark.parametrize("times", [1, 10], ids=["once", "until it keeps the others waiting"])
def test_what_is_added_while_the_database_is_written_is_in_it(
    workspace: Any, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command adds a system after this one has read the results, and before it renames its own database."""
    given, real, added = workspace.write("h.txt", TEXT), collecting.build_database, []

    def overtaken(*arguments: Any, **options: Any) -> None:
        if len(added) < times and not _is_locked(workspace.root / "results" / "results.lock"):
            added.append(f"late-{len(added)}")
            monkeypatch.setattr(collecting, "build_database", real)
            join_results(workspace.config, workspace.layout, workspace.request(given, name=added[-1]))
            monkeypatch.setattr(collecting, "build_database", overtaken)
        real(*arguments, **options)

    monkeypatch.setattr(collecting, "build_database", overtaken)
    join_results(workspace.config, workspace.layout, workspace.request(given, name="own"))
    assert systems(workspace) == sorted(["own", *added])
    assert len(added) == min(times, 3)


def test_a_system_that_is_refused_leaves_the_one_before(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = workspace.write("h.txt", TEXT)
    join_results(workspace.config, workspace.layout, workspace.request(given))
    folder = workspace.layout.external("theirs", "dev")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(collecting, "build_database", lambda *_, **__: 1 / 0)
    for name in ("theirs", "another"):
        with pytest.raises(ZeroDivisionError):
            join_results(
                workspace.config,
                workspace.layout,
                workspace.request(workspace.write("other.txt", TEXT.replace("ça", "la")), name=name),
            )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not workspace.layout.external("another", "dev").exists()


def test_what_a_killed_evaluation_left_is_no_system(workspace: Any) -> None:
    given = workspace.write("h.txt", TEXT)
    join_results(workspace.config, workspace.layout, workspace.request(given))
    folder = workspace.layout.external("theirs", "dev")
    shutil.copytree(folder, folder.with_name(f".dev.{os.uname().nodename}.4194304.tmp"))
    collect_database(workspace.config, workspace.layout)
    join_results(
        workspace.config, workspace.layout, workspace.request(given)
    )  # and so is the copy that this makes of the earlier one
    assert [path.name for path in folder.parent.iterdir()] == ["dev"]


def test_a_database_of_somebody_else_is_left_alone(workspace: Any) -> None:
    theirs = workspace.root / "results" / "results.duckdb"
    with duckdb.connect(str(theirs)) as connection:
        connection.execute("CREATE TABLE years (work INTEGER)")
    before = theirs.read_bytes()
    with pytest.raises(Exception, match="is not a results database of mlcslm"):
        collect_database(workspace.config, workspace.layout)
    assert theirs.read_bytes() == before


def test_a_lock_ends_with_its_process_and_waiting_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.duckdb"
    program = f"""
        import time
        from mlcslm.io.locks import exclusive
        with exclusive({str(path)!r}), exclusive({str(path)!r}):
            print("held", flush=True)
            time.sleep(60)
    """
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    waits = f"from mlcslm.io.locks import exclusive\nwith exclusive({str(path)!r}): print('got it')"
    waiter = subprocess.Popen([sys.executable, "-c", waits], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert waiter.stderr is not None
    said = waiter.stderr.readline()
    who = f"process {holder.pid} on {os.uname().nodename}"
    assert said == f"mlcslm: {path}: {who} is writing it; waiting until it has finished\n"
    time.sleep(0.1)
    assert waiter.poll() is None
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert waiter.communicate()[0] == "got it\n"
    with exclusive(path):
        pass
    assert capfd.readouterr().err == ""


def _is_locked(path: Path) -> bool:
    """Whether any process, including this one, holds the lock, so that another open file cannot acquire it."""
    import fcntl

    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
