"""What a run shows: a line per running job with its progress, results as they come, faults last.

Snakemake calls `Console` for each of its messages. Its jobs write to their log files alone (`runtime.job_log`), from
which their progress and messages are read, so that two jobs never write over each other.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from mlcslm.runtime.job_log import ONLY_TO_LOG
from mlcslm.status.traces import log_trace

if TYPE_CHECKING:
    from rich.live import Live

LOG_INTERVAL_S = 60.0
"""How often the progress of running jobs is printed where there is no terminal."""
QUIET_S = 2.0
"""Shorter jobs leave no line of their own."""
_SILENT = {
    LogEvent.WORKFLOW_STARTED,
    LogEvent.SHELLCMD,
    LogEvent.JOB_STARTED,
    LogEvent.GROUP_INFO,
    LogEvent.RESOURCES_INFO,
    LogEvent.DEBUG_DAG,
    LogEvent.RULEGRAPH,
}
# What Snakemake says of its own working.
_NOISE = (
    "Assuming unrestricted shared filesystem",
    "Building DAG of jobs",
    "Complete log",
    "Conda environments: ignored",
    "Elapsed time:",
    "Execute ",
    "Exiting because a job execution failed",
    "Group jobs: inactive",
    "None",
    "Removing output files of failed job",
    "Select jobs to execute",
    "Shutting down, this might take some time",
    "Singularity containers: ignored",
    "Trying to restart job",
    "Using shell:",
    "host:",
    "Resuming incomplete job",
    "Storing output in storage",
    "Workflow runtime:",
)
_PREFIX = "mlcslm: "


@dataclass(frozen=True)
class RunningJob:
    """A job under way: its label, its log file, and when it began (seconds of the monotonic clock)."""

    label: str
    log: Path | None
    began: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        """How far the job is."""
        trace = log_trace(self.log) if self.log is not None else None
        passed = duration(time.monotonic() - self.began)
        if trace is None or trace.done is None or trace.total is None:
            return f"{self.label}   {passed}"
        left = "" if trace.seconds_left is None else f", about {duration(trace.seconds_left)} left"
        return f"{self.label}   {trace.done} of {trace.total} ({trace.done / max(1, trace.total):.0%}){left}"


class Console(LogHandlerBase):
    """Prints what a run does to standard error.

    With --dry-run, --verbose, --printshellcmds or --quiet, which ask for something of Snakemake's own, its messages are
    printed as ever.
    """

    def __post_init__(self) -> None:
        """Prepare; jobs that start from here on write to their logs alone."""
        settings = self.common_settings
        self._usual: logging.Handler | None = None
        if settings.dryrun or settings.verbose or settings.printshellcmds or settings.quiet or settings.debug_dag:
            self._usual = _usual_handler(settings)
        else:
            os.environ[ONLY_TO_LOG] = "1"
        self._jobs: dict[int, RunningJob] = {}
        self._faults: list[str] = []
        self._faults_are_last = True
        self._state = threading.Lock()
        self._over = threading.Event()
        self._begun = time.monotonic()
        self._counts = (0, 0)
        self._last_message = ""
        self._live: Live | None = None
        self._ticker: threading.Thread | None = None

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message of Snakemake's, or what it means."""
        if self._usual is not None:
            self._usual.handle(record)
            return
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self._start(record)
        elif event == LogEvent.JOB_FINISHED:
            self._finish(record)
        elif event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            self._fail(record)
        elif event == LogEvent.RUN_INFO:
            self._counts = (0, int((getattr(record, "stats", None) or {}).get("total", 0)))
        elif event == LogEvent.PROGRESS:
            self._counts = (getattr(record, "done", 0), getattr(record, "total", 0))
        elif event == LogEvent.ERROR and self._jobs_speak_for_themselves(record):
            return
        elif event not in _SILENT:
            self._message(record)

    def close(self) -> None:
        """End the display; the last lines are what failed, and why."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
            self._ticker = None
        if self._live is not None:
            self._live.stop()
            self._live = None
        with self._state:
            stopped, self._jobs = list(self._jobs.values()), {}
        for job in stopped:  # by an interruption: some say where they will resume
            for message in _said(job.log):
                self._print(message)
        if self._faults and not self._faults_are_last:
            self._print("")
            for fault in self._faults:
                self._print(fault)
        self._faults = []
        super().close()

    def _start(self, record: logging.LogRecord) -> None:
        logs = list(getattr(record, "log", None) or ())
        wildcards = getattr(record, "wildcards", None) or {}
        job = RunningJob(label_of(getattr(record, "rule_name", "job"), wildcards), Path(logs[0]) if logs else None)
        with self._state:
            self._jobs[getattr(record, "jobid", -1)] = job
        self._show()

    def _finish(self, record: logging.LogRecord) -> None:
        with self._state:
            job = self._jobs.pop(getattr(record, "job_id", -1), None)
        if job is None:
            return
        said = list(_said(job.log))
        for message in said:
            self._print(message)
        passed = time.monotonic() - job.began
        if passed >= QUIET_S and not said:
            self._print(f"{job.label}: done in {duration(passed)}")

    def _fail(self, record: logging.LogRecord) -> None:
        with self._state:
            job = self._jobs.pop(getattr(record, "jobid", -1), None)
        logs = list(getattr(record, "log", None) or ())
        log = job.log if job is not None else Path(logs[0]) if logs else None
        label = job.label if job is not None else getattr(record, "rule_name", "a job")
        said = list(_said(log, to_the_end=True)) or ["it ended without a message"]
        fault = "\n".join([f"{label} failed (log: {log}):", *(f"{_PREFIX}{message}" for message in said[-3:])])
        still_last = self._faults_are_last or not self._faults
        self._print(fault)
        self._faults_are_last = still_last
        self._faults.append(fault)

    def _jobs_speak_for_themselves(self, record: logging.LogRecord) -> bool:
        """Whether an error is only Snakemake's report that a job's process, or the run, has failed."""
        text = record.getMessage()
        return "CalledProcessError" in text or (bool(self._faults) and "At least one job did not complete" in text)

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip("\n")
        if text == self._last_message:
            return  # Snakemake says some things once a second
        self._last_message = text
        if text.strip() and not text.lstrip().startswith(_NOISE):
            hint = "\nTables: mlcslm show, mlcslm show table6" if text.startswith("Nothing to be done") else ""
            self._print(text + hint)

    def _print(self, text: str) -> None:
        self._faults_are_last = False
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _show(self) -> None:
        """Begin to show progress, at the first job."""
        if self._ticker is not None or self._live is not None:
            return
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console as Terminal
            from rich.live import Live

            self._live = Live(
                console=Terminal(stderr=True),
                get_renderable=lambda: _shortened(self.lines()),
                refresh_per_second=1,
                transient=True,
            )
            self._live.start()
        else:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while not self._over.wait(LOG_INTERVAL_S):
            with self._state:
                jobs = list(self._jobs.values())
            for job in jobs:
                if time.monotonic() - job.began >= LOG_INTERVAL_S / 2:
                    self._print(f"  {job.line()}")

    def lines(self) -> list[str]:
        """A line on the run, and one per running job."""
        with self._state:
            jobs = list(self._jobs.values())
        done, total = self._counts
        head = f"{done} of {total} jobs done, " if total else ""
        return [f"{head}{duration(time.monotonic() - self._begun)}", *(f"  {job.line()}" for job in jobs)]


def label_of(rule: str, wildcards: Mapping[str, Any]) -> str:
    """A job's name for people.

    >>> label_of("train", {"checkpoint": "ckpt-4000"}), label_of("demo_corpus", {})
    ('train ckpt-4000', 'demo corpus')
    >>> label_of("decode", {"checkpoint": "ckpt-4000", "decoding": "greedy", "split": "dev", "shard": "all"})
    'decode ckpt-4000 greedy dev'
    """
    return " ".join([rule.replace("_", " "), *(str(value) for value in wildcards.values() if value not in ("", "all"))])


def duration(seconds: float) -> str:
    """Seconds, rounded for people.

    >>> duration(8.4), duration(75), duration(600), duration(8000)
    ('8 s', '1 min 15 s', '10 min', '2 h 13 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _said(log: Path | None, *, to_the_end: bool = False) -> Iterator[str]:
    """A job's messages, from its log: lines that start with `mlcslm: `, and what is indented below them.

    to_the_end: the last one, by which a job has failed, is all that follows.
    """
    if log is None or not log.is_file():  # a log may be a device, such as /dev/full, which never ends
        return
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    message: list[str] = []
    last = max((number for number, line in enumerate(lines) if line.startswith(_PREFIX)), default=0)
    for number, line in enumerate(lines):
        if line.startswith(_PREFIX):
            if message:
                yield "\n".join(message)
            message = [line.removeprefix(_PREFIX)]
        elif message and (line.startswith("  ") or (to_the_end and number > last)):
            message.append(line)
        elif message:
            yield "\n".join(message)
            message = []
    if message:
        yield "\n".join(message)


def _shortened(lines: list[str]) -> Any:
    """The lines, each cut at the terminal's width."""
    from rich.text import Text

    return Text("\n".join(lines), overflow="ellipsis", no_wrap=True)


def _usual_handler(settings: Any) -> logging.Handler:
    """What Snakemake prints with when there is no plugin."""
    from snakemake.logging import (  # type: ignore[import-untyped]
        ColorizingTextHandler,
        DefaultFilter,
        DefaultFormatter,
    )

    stream = sys.stdout if settings.stdout else sys.stderr
    return ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=stream,
        formatter=DefaultFormatter(settings.quiet, settings.show_failed_logs),
        filter=DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        ),
    )
