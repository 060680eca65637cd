"""Snakemake whose jobs are forked from a process that has imported everything: a run takes a second instead of many.

All else is as a user has it: the rules, the scripts, what is printed, what is left on disk. That jobs start as
processes of their own is what tests/workflow shows.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PRELOADED = (
    "duckdb",
    "peft",
    "snakemake.cli",
    "transformers.trainer",
    "mlcslm.decoding.generation",
    "mlcslm.results.database",
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context.Process(target=_main, args=(arguments, str(output), before, dict(in_jobs or {})))


def _main(arguments: list[str], output: str, before: Setup | None, in_jobs: Mapping[str, Setup]) -> None:
    os.setsid()
    os.chdir(REPOSITORY)
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


def _run_script(name: str, before: Setup | None) -> int:
    try:
        if before is not None:
            before()
        runpy.run_path(name, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
