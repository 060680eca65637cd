"""The toy workflow below a folder, run on this machine or on a cluster, and jobs that are stopped on the way."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from slurm_cluster import Cluster

REPOSITORY = Path(__file__).parents[2]
TABLES = ("table5", "table6", "table7")
PATIENCE_S = 3600  # for a loaded machine: some minutes on one that has nothing else to do
# A cluster's own pace would be 40 seconds.
PACE = ("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1")


@dataclass(frozen=True)
class Run:
    """A configuration with its results below `root`."""

    root: Path
    config: dict[str, Any]
    output: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        object.__setattr__(self, "output", self.root / "output.txt")
        (self.root / "config.yaml").write_text(yaml.safe_dump(self.config | {"results": str(self.results)}), "utf-8")

    @property
    def results(self) -> Path:
        return self.root / "results"

    def tables(self) -> list[Path]:
        return [self.results / "tables" / f"{name}.csv" for name in TABLES]

    def start(self, targets: list[Path], *options: str, cluster: Cluster | None = None) -> subprocess.Popen[bytes]:
        """Snakemake as a user calls it, with the repository's profile for clusters where there is one."""
        how = ["--workflow-profile", str(REPOSITORY / "profiles" / "slurm"), *PACE, "--jobs", "3"]
        places = ["--configfile", str(self.root / "config.yaml"), "--directory", str(self.root)]
        command = [sys.executable, "-m", "snakemake", *map(str, targets), *places]
        with open(self.output, "ab") as output:
            return subprocess.Popen(
                [*command, *(how if cluster else ["--cores", "2"]), *options],
                cwd=REPOSITORY,
                env=cluster.environment if cluster else None,
                stdout=output,
                stderr=output,
            )

    def finish(self, process: subprocess.Popen[bytes]) -> str:
        """Wait for the end, which has to be a good one; return what was written."""
        try:
            status = process.wait(PATIENCE_S)
        finally:
            process.kill()
        text = self.output.read_text(encoding="utf-8", errors="replace")
        assert status == 0, f"{text}\n{self.job_logs()}"
        return text

    def job_logs(self) -> str:
        """What jobs have left to read that did not end well."""
        logs = sorted((self.root / ".snakemake" / "slurm_logs").rglob("*.log"))
        return "\n".join(f"--- {path}\n{path.read_text(encoding='utf-8', errors='replace')[-3000:]}" for path in logs)

    def submitted(self) -> dict[str, str]:
        """Rule (with its wildcards) of each SLURM job by its number, from what Snakemake has written."""
        text = self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""
        found = re.findall(r"SLURM jobid (\d+) \(log: \S*/slurm_logs/rule_(\S+)/\d+\.log\)", text)
        return {number: rule for number, rule in found}


@dataclass
class Interruption:
    """A job to be asked to stop as soon as it has got somewhere.

    rule: as `Run.submitted` has it; reached: tells what it has reached, nothing at first.
    """

    rule: str
    reached: Callable[[], Any]
    job: str = ""


class Interrupter(threading.Thread):
    """Sends SIGTERM once to each of the jobs while a run goes on."""

    def __init__(self, run: Run, cluster: Cluster, interruptions: list[Interruption]) -> None:
        super().__init__(daemon=True)
        self.run_, self.cluster, self.waiting = run, cluster, list(interruptions)
        self.is_over = threading.Event()

    def run(self) -> None:
        while self.waiting and not self.is_over.wait(0.03):
            for one in [one for one in self.waiting if one.reached()]:
                with _held(self.run_.root):
                    numbers = {rule: number for number, rule in self.run_.submitted().items()}
                    if one.rule in numbers:
                        one.job = numbers[one.rule]
                        self.cluster.ask("scancel", "--signal=TERM", one.job)
                        self.waiting.remove(one)


@contextlib.contextmanager
def _held(root: Path) -> Iterator[None]:
    """Hold the jobs of a run below `root`: what is left of a toy stage takes a second, as long as SLURM may need to
    ask it to stop."""
    held = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            is_job = any(word.startswith((f"{root}/.snakemake/scripts/", f"{root}/results/work/")) for word in line)
            if is_job and line[0] == sys.executable:
                process.suspend()
                held.append(process)
    try:
        yield
        if held:
            time.sleep(2)
    finally:
        for process in held:
            with contextlib.suppress(psutil.Error):
                process.resume()


def rows_in(folder: Path, pattern: str, count: int) -> Callable[[], bool]:
    """Whether a file below `folder` has `count` lines."""

    def is_there() -> bool:
        with contextlib.suppress(FileNotFoundError):  # its folder goes when the work is done
            return any(len(path.read_bytes().splitlines()) >= count for path in folder.glob(pattern))
        return False

    return is_there


def checkpoint_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of a checkpoint's files by name, as it says itself. What it was made from is elsewhere in each run."""
    return json.loads((folder / "checkpoint.json").read_text("utf-8"))["files"]


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
