"""Stop on the system's request, after saving a state to resume from, and have SLURM requeue the job.

A cluster announces with SIGTERM that a job's time is up: before its time limit (`sbatch --signal`), when it is
preempted, or manually (`scancel --signal=TERM`). Imports nothing heavy.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mlcslm.runtime.progress import say

STATUS = 128 + signal.SIGTERM
"""Exit status of a job stopped on request, as a shell reports it."""
MAX_RESTARTS = {True: 100, False: 3}
"""How often SLURM may restart a job, by whether it resumes where it was (True) or starts over each time (False)."""


class Interrupted(BaseException):
    """The process was asked to stop. Like KeyboardInterrupt, not an Exception, so that nothing mistakes it for a fault.

    saved: what the next run of the job resumes from; nothing by default.
    """

    def __init__(self, saved: str = "") -> None:
        super().__init__(saved)
        self.saved = saved


class Stop:
    """Whether the process was asked to stop, for work done step by step."""

    def __init__(self) -> None:
        self.requested = False
        self.is_deferred = False
        self.process = os.getpid()

    def leave(self, saved: str) -> None:
        """Raise Interrupted if the process was asked to stop; saved: what the next run resumes from."""
        if self.requested:
            raise Interrupted(saved)


_stop = Stop()


@contextmanager
def exits_on_request() -> Iterator[None]:
    """Let SIGTERM end a job with a message and the status `STATUS`, and requeue it under SLURM; Ctrl-C with a message.

    Work inside `between_steps` ends where it chooses, any other at once.
    """
    try:
        with raises_on_request():
            yield
    except Interrupted as interrupted:
        say(f"stopped by SIGTERM. {_outcome(interrupted)}")
        sys.exit(STATUS)
    except KeyboardInterrupt:
        say("stopped by Ctrl-C. Finished work is kept. Run again to resume.")
        sys.exit(128 + signal.SIGINT)


@contextmanager
def raises_on_request() -> Iterator[None]:
    """Let SIGTERM raise Interrupted: inside `between_steps` where the work chooses, else at once.

    Child processes that inherit the handler end as they would without it.
    """
    global _stop
    _stop = Stop()
    usual = signal.signal(signal.SIGTERM, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)
        _stop = Stop()


@contextmanager
def between_steps() -> Iterator[Stop]:
    """Defer stopping: the work checks `Stop.requested` after each step, saves, and calls `Stop.leave`."""
    _stop.is_deferred = True
    try:
        yield _stop
    finally:
        _stop.is_deferred = False


def outlive_one_signal(*_: object) -> None:
    """Let a worker process ignore the first SIGTERM (`worker_init_fn` of a DataLoader).

    SLURM signals every process of a job, and a worker that dies would take its trainer down before it has saved. The
    second SIGTERM counts: it ends a worker that outlives its loader.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _note(signum: int, frame: FrameType | None) -> None:
    if os.getpid() != _stop.process:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        return
    if not _stop.requested:
        _stop.requested = True
        if not _stop.is_deferred:
            raise Interrupted


def _outcome(interrupted: Interrupted) -> str:
    """What happens to the work, in a sentence or two; under SLURM the job is requeued first."""
    reached = f"Saved: {interrupted.saved}." if interrupted.saved else "Finished work is kept."
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return f"{reached} Run again to resume."
    return f"{reached} {_requeue(job, resumes=bool(interrupted.saved))}"


def _requeue(job: str, *, resumes: bool) -> str:
    """Ask SLURM to requeue `job`; returns the outcome as a sentence.

    Only a running one: otherwise somebody has cancelled it, or SLURM is about to restart it anyway. Snakemake hides the
    restart count that SLURM passes to jobs, so SLURM is queried for it.
    """
    query = _slurm("squeue", "--noheader", f"--jobs={job}", "--Format=State:20,RestartCnt:20")
    if query.returncode:
        return f"SLURM gives no information on job {job} ({query.stderr.strip()}). Run again to resume."
    state, restarts = query.stdout.split() or ("gone", "0")
    if state != "RUNNING":
        return f"SLURM reports job {job} as {state}, so it is not requeued. Run again to resume."
    if int(restarts) >= MAX_RESTARTS[resumes]:
        return f"SLURM has restarted job {job} {restarts} times: not requeued. Give it more time, then run again."
    done = _slurm("scontrol", "requeue", job)
    if done.returncode:
        return f"SLURM refuses to requeue job {job} ({done.stderr.strip()}). Run again to resume."
    return f"SLURM requeued job {job}."


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
