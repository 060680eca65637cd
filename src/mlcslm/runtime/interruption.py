"""Stop when the system asks for it: after what can be gone on from is saved, and so that SLURM starts the job again.

A cluster says by SIGTERM that a job's time is up: before its time limit (`sbatch --signal`), before a more important
job takes its place, or by hand (`scancel --signal=TERM`). Imports nothing heavy.
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
"""Exit status of a job that was asked to stop, as a shell gives it."""
MOST_RESTARTS = {True: 100, False: 3}
"""How often SLURM may start a job again: one that goes on where it was, and one that begins anew each time."""


class Interrupted(BaseException):
    """The process was asked to stop. Like KeyboardInterrupt, no Exception, so that nothing takes it for a fault.

    saved: what was reached, and is gone on from by whoever runs the job again; nothing by default.
    """

    def __init__(self, saved: str = "") -> None:
        super().__init__(saved)
        self.saved = saved


class Stop:
    """Whether the process was asked to stop, for work that is done step by step."""

    def __init__(self) -> None:
        self.asked = False
        self.is_deferred = False
        self.process = os.getpid()

    def leave(self, saved: str) -> None:
        """Raise Interrupted if the process was asked to stop; saved: what has been reached."""
        if self.asked:
            raise Interrupted(saved)


_stop = Stop()


@contextmanager
def exits_on_request() -> Iterator[None]:
    """Let SIGTERM end a job: with a message, with the status `STATUS`, and under SLURM with its being started again.

    Work inside `between_steps` ends where it says, any other at once.
    """
    try:
        with raises_on_request():
            yield
    except Interrupted as interrupted:
        say(f"asked to stop by SIGTERM. {_outcome(interrupted)}")
        sys.exit(STATUS)


@contextmanager
def raises_on_request() -> Iterator[None]:
    """Let SIGTERM raise Interrupted, inside `between_steps` where that says, else at once.

    Children of this process that inherit the handler end as they would without it.
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
    """Defer being stopped: the work looks at `Stop.asked` after each step, saves, and calls `Stop.leave`."""
    _stop.is_deferred = True
    try:
        yield _stop
    finally:
        _stop.is_deferred = False


def outlive_one_signal(*_: object) -> None:
    """Let a worker process pass over the first SIGTERM (`worker_init_fn` of a DataLoader).

    SLURM signals every process of a job, and a worker that dies would take its trainer along before that has saved. The
    second one counts: by it a worker is ended that outlives its loader.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _note(signum: int, frame: FrameType | None) -> None:
    if os.getpid() != _stop.process:
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        return
    if not _stop.asked:
        _stop.asked = True
        if not _stop.is_deferred:
            raise Interrupted


def _outcome(interrupted: Interrupted) -> str:
    """What becomes of the work, as a sentence or two; under SLURM the job is requeued first."""
    reached = f"Saved: {interrupted.saved}." if interrupted.saved else "What was finished before is kept."
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return f"{reached} Run again to go on."
    return f"{reached} {_requeue(job, goes_on=bool(interrupted.saved))}"


def _requeue(job: str, *, goes_on: bool) -> str:
    """Ask SLURM to start `job` again; what comes of it, as a sentence.

    Only one that is running: else somebody has cancelled it, or SLURM itself is about to start it again. Snakemake
    hides the number of restarts that SLURM gives to jobs, so it is asked for.
    """
    asked = _slurm("squeue", "--noheader", f"--jobs={job}", "--Format=State:20,RestartCnt:20")
    if asked.returncode:
        return f"SLURM does not tell of job {job} ({asked.stderr.strip()}). Run again to go on."
    state, restarts = asked.stdout.split() or ("gone", "0")
    if state != "RUNNING":
        return f"SLURM has job {job} as {state}, so it is left to it. Run again to go on."
    if int(restarts) >= MOST_RESTARTS[goes_on]:
        return f"SLURM has started job {job} again {restarts} times: no more. Give it more time, and run again."
    done = _slurm("scontrol", "requeue", job)
    if done.returncode:
        return f"SLURM refuses to start job {job} again ({done.stderr.strip()}). Run again to go on."
    return f"SLURM starts job {job} again."


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
