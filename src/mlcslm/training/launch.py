"""Run a training stage on the job's resources: in this process, one process per GPU of this machine, or SLURM tasks.

`python -m mlcslm.training.launch JOB.json` is what each process runs; with `--srun` if srun started it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlcslm.config.reading import parse_config
from mlcslm.config.schema import Config
from mlcslm.errors import UserError
from mlcslm.runtime.interruption import STATUS, Interrupted, between_steps, raises_on_request
from mlcslm.runtime.machine_faults import machine_fault
from mlcslm.runtime.progress import say
from mlcslm.training.settings import StagePaths

GRACE_S = 300
"""How long processes that were asked to stop may take to finish their step and save before they are killed."""


def launch_stage(
    name: str, config: Config, paths: StagePaths, processes: int | None = None, tasks: int | None = None
) -> None:
    """Train stage `name`; raises UserError if one of its processes fails, Interrupted if it was asked to stop.

    processes: how many, by default one per GPU of this machine; tasks: let srun start this many instead, on the nodes
    of this SLURM job. The micro-batches of an optimiser step are distributed over the processes, so their number only
    changes how long a stage takes. It must divide the stage's `accumulation`; the default is reduced until it does.
    """
    import torch

    from mlcslm.training.stage import train_stage

    accumulation = config.stages[name].accumulation
    count = tasks or processes or max_processes(accumulation, torch.cuda.device_count())
    if accumulation % count:
        raise UserError(
            f"stages.{name}.accumulation is {accumulation}, which {count} processes cannot share; make it a multiple."
        )
    if count == 1:
        train_stage(name, config, paths)
        return
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    # Each srun task has this many CPUs of its own; processes on one machine share them.
    os.environ["OMP_NUM_THREADS"] = str(threads if tasks else max(1, threads // count))
    with _job_file(name, config, paths) as job:
        status = _run_tasks(count, job) if tasks else _run_processes(count, job)
    if STATUS in status.values():
        raise Interrupted("the newest state, see above" if any(paths.work.glob("*/checkpoint-*/whole")) else "")
    if failed := [f"process {rank} with status {code}" for rank, code in sorted(status.items()) if code]:
        raise UserError(
            f"stage {name}: training with {count} processes failed: {', '.join(failed)}; see their messages above."
        )


def max_processes(accumulation: int, devices: int) -> int:
    """The largest number of processes, up to `devices`, that shares `accumulation` micro-batches evenly.

    >>> max_processes(8, 0), max_processes(8, 3), max_processes(8, 4), max_processes(3, 2)
    (1, 2, 4, 1)
    """
    return max(count for count in range(1, accumulation + 1) if accumulation % count == 0 and count <= max(1, devices))


def tasks_of(resources: Any) -> int | None:
    """How many tasks a rule's `resources` request of srun (`mpi: srun`, and `tasks` or `nodes` and `tasks_per_node`).

    None if they request none: the stage is trained on one machine.

    >>> tasks_of({"mpi": "srun", "nodes": 2, "tasks_per_node": 4}), tasks_of({"gpu": 4, "nodes": 1})
    (8, None)
    """
    if not resources.get("mpi"):
        return None
    return resources.get("tasks") or resources.get("nodes", 1) * resources.get("tasks_per_node", 1)


@contextmanager
def _job_file(name: str, config: Config, paths: StagePaths) -> Iterator[Path]:
    """The job of each process, as a file in a folder that all nodes see."""
    paths.work.mkdir(parents=True, exist_ok=True)
    job = paths.work / f"job-{uuid.uuid4().hex}.json"
    folders = {
        key: list(map(str, value)) if isinstance(value, tuple) else value and str(value)
        for key, value in dataclasses.asdict(paths).items()
    }
    job.write_text(json.dumps({"name": name, "config": config.model_dump(mode="json"), "paths": folders}), "utf-8")
    try:
        yield job
    finally:
        job.unlink(missing_ok=True)


def _run_processes(count: int, job: Path) -> dict[int, int]:
    """Exit status by rank of `count` processes on this machine, as `torchrun --standalone` runs them.

    Their output goes through this process's streams into the job's log. A request to stop is passed on to them.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as logs:
        settings = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs, tee=Std.ALL),
            log_line_prefix_template="${rank}: ",
            shutdown_timeout=GRACE_S,
        )
        try:
            elastic_launch(settings, sys.executable)("-m", __name__, str(job))
        except SignalException:
            return {0: STATUS}
        except ChildFailedError as error:
            return {rank: failure.exitcode for rank, failure in error.failures.items()}
    return {}


def _run_tasks(count: int, job: Path) -> dict[int, int]:
    """Exit status of `count` srun tasks on the nodes of this SLURM job, which must share a file system.

    SLURM signals them directly; if this process is signalled too, it waits for them.
    """
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    # The batch script runs on the first node, as does rank 0.
    environment = os.environ | {"MASTER_ADDR": socket.gethostname(), "MASTER_PORT": str(port)}
    threads = f"--cpus-per-task={os.environ['OMP_NUM_THREADS']}"
    command = ["srun", f"--ntasks={count}", threads, "--kill-on-bad-exit=1", "--label"]
    command += [sys.executable, "-m", __name__, str(job), "--srun"]
    with (
        between_steps(),
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as tasks,
    ):
        assert tasks.stdout is not None
        for line in tasks.stdout:
            sys.stderr.write(line)  # and thus into the job's log
    return {0: tasks.returncode}


def _main(job_file: str, *options: str) -> None:
    if options:
        for name, given in (("RANK", "PROCID"), ("LOCAL_RANK", "LOCALID"), ("WORLD_SIZE", "NTASKS")):
            os.environ[name] = os.environ[f"SLURM_{given}"]
        # "4(x2)": four tasks on each of two nodes; "4,3": four on the first.
        tasks = re.match(r"\d+", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
        os.environ["LOCAL_WORLD_SIZE"] = tasks[0] if tasks else "1"

    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    folders: dict[str, Any] = {
        key: tuple(map(Path, value)) if isinstance(value, list) else value and Path(value)
        for key, value in job["paths"].items()
    }
    try:
        with raises_on_request():
            from mlcslm.training.stage import train_stage

            train_stage(job["name"], parse_config(job["config"]), StagePaths(**folders))
    except Interrupted as interrupted:
        if interrupted.saved and os.environ["RANK"] == "0":
            say(f"saved {interrupted.saved}")
        sys.exit(STATUS)
    except UserError as error:
        say(error)
        sys.exit(1)
    except Exception as error:
        if (message := machine_fault(error)) is None:
            raise
        say(message)
        sys.exit(1)


if __name__ == "__main__":
    _main(*sys.argv[1:])
