"""A real SLURM on this machine: munged, slurmctld and slurmds of Debian's packages, below one folder.

Nothing is outside that folder: SLURM's commands find the configuration by SLURM_CONF, and munge has a socket and a
key of its own. All daemons run as whoever starts them, and end with `Cluster.stop`. There is no slurmdbd: what has run
is in the file of finished jobs (jobcomp/filetxt). The nodes claim more CPUs, memory and GPUs than there are, so that
the profile's requests are granted; a GPU is nothing but a number here.
"""

from __future__ import annotations

import contextlib
import ctypes
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

PATIENCE_S = 60
REQUEUE_S = 5  # until a requeued job may start again: SLURM takes no less, and usually 120
DAEMONS = ("munged", "slurmctld", "slurmd")


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind: their names, and what each claims to have (memory in MB)."""

    names: tuple[str, ...] = ("n1", "n2")
    cpus: int = 64
    memory: int = 1_000_000
    gpus: int = 8


class Cluster:
    """The daemons below `folder`, which has to be short: a socket's path is at most 107 characters long."""

    def __init__(self, folder: Path, nodes: Nodes | None = None) -> None:
        self.folder = folder
        self.nodes = nodes or Nodes()
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }
        self.finished_jobs = folder / "jobcomp.txt"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all daemons and wait until every node is idle."""
        for part in ("munge", "state", "log", *(f"spool/{name}" for name in self.nodes.names)):
            (self.folder / part).mkdir(parents=True)
        self.folder.chmod(0o755)  # else munged refuses its socket there
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        (self.folder / "slurm.conf").write_text(self._configuration(), encoding="utf-8")
        # A count without files would make the node invalid.
        for number in range(self.nodes.gpus):
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(
            f"Name=gpu File={self.folder}/gpu[0-{self.nodes.gpus - 1}]\n", encoding="utf-8"
        )
        self._write_commands()
        munge = self.folder / "munge"
        self._run(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={self._socket}",
            f"--pid-file={munge / 'munged.pid'}",
            f"--log-file={self.folder / 'log' / 'munged.log'}",
            f"--seed-file={munge / 'munged.seed'}",
        )
        self._wait_for(self._socket.exists, "munged has no socket")
        self._run("slurmctld", "-D", "-c")
        for name in self.nodes.names:
            self._run("slurmd", "-D", "-N", name)
        self._wait_for(lambda: self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split() != [], "no idle node")
        self._wait_for(
            lambda: set(self.ask("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()) == set(self.nodes.names),
            "not all nodes became idle",
        )

    def stop(self) -> None:
        """Cancel what runs and end the daemons, the node's first; wait until they are gone."""
        subprocess.run(["scancel", "--user", getpass.getuser()], env=self.environment, check=False)
        with contextlib.suppress(AssertionError):
            self._wait_for(lambda: not self.ask("squeue", "-h", "-o", "%i").split(), "jobs are left", 20)
        for name in reversed(list(self._processes)):
            process = self._processes.pop(name)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._end_what_slurm_lost()

    def _end_what_slurm_lost(self) -> None:
        """Kill the processes of a node that a test made fall out: no daemon knows them any more."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"] and process.pid != os.getpid():
                    process.kill()

    def ask(self, *command: str) -> str:
        """Standard output of one of SLURM's commands."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False).stdout

    def jobs(self) -> list[dict[str, str]]:
        """The finished jobs of SLURM's own record, oldest first: its fields by name (JobId, JobState, Partition…)."""
        if not self.finished_jobs.exists():
            return []
        lines = self.finished_jobs.read_text(encoding="utf-8").splitlines()
        return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]

    def _write_commands(self) -> None:
        """Let commands know the configuration: Snakemake runs jobs without SLURM's variables, as if it were in /etc."""
        folder = self.folder / "bin"
        folder.mkdir()
        for name in ("srun", "squeue", "scontrol"):
            content = f'#!/bin/sh\nexport SLURM_CONF="{self.folder}/slurm.conf"\nexec {_executable(name)} "$@"\n'
            (folder / name).write_text(content, encoding="utf-8")
            (folder / name).chmod(0o755)

    @property
    def _socket(self) -> Path:
        return self.folder / "munge" / "munge.socket"

    def _run(self, *command: str) -> None:
        name = " ".join((command[0], *command[3:4])) if command[0] == "slurmd" else command[0]
        with open(self.folder / "log" / f"{name.replace(' ', '-')}.out", "wb") as output:
            self._processes[name] = subprocess.Popen(
                [_executable(command[0]), *command[1:]],
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _wait_for(self, condition: Callable[[], object], complaint: str, patience: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"{complaint}; ended: {', '.join(ended) or 'none'}.\n{self._logs()}")
            time.sleep(0.1)

    def _logs(self) -> str:
        texts = []
        for path in sorted((self.folder / "log").iterdir()):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            texts += [f"--- {path.name}", *lines]
        return "\n".join(texts)

    def _configuration(self) -> str:
        user, host = getpass.getuser(), socket.gethostname()
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.nodes.cpus} "
            f"RealMemory={self.nodes.memory} Gres=gpu:{self.nodes.gpus} State=UNKNOWN"
            for name, port in zip(self.nodes.names, free_ports(len(self.nodes.names)), strict=True)
        )
        values = {
            "ClusterName": "test",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": free_ports(1)[0],
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self._socket},cred_expire={REQUEUE_S}",
            "CredType": "cred/munge",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "MpiDefault": "none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": self.finished_jobs,
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "ReturnToService": 2,
            "MinJobAge": 3600,
            "JobRequeue": 0,  # as on some clusters: the profile has to ask for it
            "KillWait": 20,
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.%n.pid",
            "SlurmdSpoolDir": self.folder / "spool" / "%n",
            "StateSaveLocation": self.folder / "state",
            "SlurmctldLogFile": self.folder / "log" / "slurmctld.log",
            "SlurmdLogFile": self.folder / "log" / "slurmd.%n.log",
            "SlurmdParameters": "config_overrides",
            "GresTypes": "gpu",
        }
        lines = [f"{key}={value}" for key, value in values.items()]
        # The least loaded node first: else all jobs fit on one. Jobs of `urgent` take the nodes of others, which are
        # asked to stop first.
        partitions = [
            f"PartitionName={name} Nodes=ALL MaxTime=INFINITE State=UP LLN=YES {more}"
            for name, more in (
                ("cpu", "Default=YES"),
                ("gpu", "GraceTime=20"),
                ("urgent", "PriorityTier=10 PreemptMode=OFF"),
            )
        ]
        return "\n".join([*lines, nodes, *partitions, ""])


def _end_with_parent() -> None:
    """Let the system end this process when the test's is killed, which then cannot do so itself."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _executable(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert found, f"{name} is missing: apt-get install slurm-wlm munge"
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running_cluster(folder: Path, nodes: Nodes | None = None) -> Iterator[Cluster]:
    """A cluster that is stopped whatever happens."""
    cluster = Cluster(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
