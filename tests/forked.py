"""Snakemake's jobs and other programs, forked from a process that has imported everything: a second instead of many.

All else is as a user has it: the rules, the scripts, what is printed, what is left on disk. That jobs started as
processes of their own do the same is shown by the tests of tests/workflow that kill them, or ask for `forked=False`.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
PRELOADED = (
    "duckdb",
    "peft",
    "snakemake.cli",
    "snakemake.profiles",
    "snakemake.report.html_reporter",
    "snakemake.storage",
    "smart_open",
    "transformers.trainer",
    "mlcslm.decoding.generation",
    "mlcslm.evaluation.transcribed_folder",
    "mlcslm.results.database",
    "mlcslm.results.tables",
    "mlcslm.status.console",
    "mlcslm.training.launch",
    "mlcslm.training.stage",
)
Setup = Callable[[], None]


def snakemake_process(
    arguments: list[str], output: Path, *, before: Setup | None = None, in_jobs: Mapping[str, Setup] | None = None
) -> Any:
    """A process, not yet started, that runs `snakemake` in a session of its own and prints to `output`.

    before: called first in it; in_jobs: by the name of a rule's script, called first in each of its jobs.
    """
    return _context().Process(target=_main, args=(arguments, str(output), before, dict(in_jobs or {})))


def program(script: Path, *arguments: str | Path, out: Path, err: Path, folder: Path = REPOSITORY) -> Any:
    """A process, not yet started, that runs a Python script in `folder`, in a session of its own.

    out, err: files that it prints to.
    """
    return _context().Process(target=_program, args=([str(script), *map(str, arguments)], str(folder), out, err))


def run_program(script: Path, *arguments: str | Path, folder: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run a Python script in `folder` to its end. Scripts that it starts by `subprocess.run` are forked from it."""
    with tempfile.TemporaryDirectory() as made:
        out, err = (Path(made, name) for name in ("out", "err"))
        process = program(script, *arguments, out=out, err=err, folder=folder)
        process.start()
        process.join()
        printed = (stream.read_text(encoding="utf-8") for stream in (out, err))
        return subprocess.CompletedProcess([script, *arguments], process.exitcode, *printed)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _program(command: list[str], folder: str, *streams: Path) -> None:
    gc.freeze()
    os.setsid()
    os.chdir(folder)
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    sys.path[0:0] = [str(Path(command[0]).parent)]
    subprocess.run = partial(_run_forked, subprocess.run)  # type: ignore[assignment]
    os._exit(_run_script(command[0], None, command))


def _run_forked(run: Callable[..., Any], command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    if command[0] != sys.executable or not command[1].endswith(".py"):
        return run(command, **options)
    with tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(err.fileno(), 2)
            os._exit(_run_script(command[1], None, command[1:]))
        _, status = os.waitpid(child, 0)
        err.seek(0)
        return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(status), None, err.read().decode())


def search_in(pythonpath: str) -> None:
    """Let a run and its jobs find the packages in these folders, as PYTHONPATH does when Python starts."""
    os.environ["PYTHONPATH"] = pythonpath
    sys.path[:0] = [folder for folder in pythonpath.split(os.pathsep) if folder not in sys.path]


def _main(arguments: list[str], output: str, before: Setup | None, in_jobs: Mapping[str, Setup]) -> None:
    gc.freeze()  # what is imported is no garbage; looking for some in it would copy its memory
    os.setsid()
    os.chdir(REPOSITORY)
    sys.argv = ["snakemake", *arguments]
    multiprocessing.set_start_method("fork", force=True)  # as for a user; here it would be as this process was made
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    if before is not None:
        before()

    from snakemake.cli import main
    from snakemake.script import PythonScript

    def execute(script: Any, name: str, edit: bool = False) -> None:
        from snakemake.benchmark import benchmarked

        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            # Named by Snakemake as `<anything>.<script>.py`.
            os._exit(_run_script(name, in_jobs.get(name.split(".")[-2])))
        with benchmarked(child, script.bench_record):
            _, status = os.waitpid(child, 0)
        if status:
            raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), name)

    PythonScript.execute_script = execute  # type: ignore[method-assign]
    main(arguments)


def _run_script(name: str, before: Setup | None, command: list[str] | None = None) -> int:
    try:
        sys.argv = command or sys.argv
        if before is not None:
            before()
        runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
