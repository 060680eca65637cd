"""Run a training stage on what the machine has: in this process, or one process a GPU.

`python -m mlcslm.training.launch JOB.json` is what each of those processes runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import uuid
from pathlib import Path

from mlcslm.config import Config, parse_config
from mlcslm.errors import UserError
from mlcslm.training.paths import StagePaths


def launch_stage(name: str, config: Config, paths: StagePaths, processes: int | None = None) -> None:
    """Train stage `name`; processes: how many, by default one a GPU. Raises UserError if one of them fails.

    The micro-batches of an optimiser step are dealt out to the processes, so that their number changes nothing but the
    time that a stage takes: the stage's `accumulation` has to be a multiple of it, and by default fewer are taken.
    """
    import torch

    from mlcslm.training.stage import train_stage

    accumulation = config.stages[name].accumulation
    count = processes or most_processes(accumulation, torch.cuda.device_count())
    if accumulation % count:
        raise UserError(
            f"stages.{name}.accumulation is {accumulation}, which {count} processes cannot share; make it a multiple."
        )
    if count == 1:
        train_stage(name, config, paths)
        return
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(
            json.dumps(
                {
                    "name": name,
                    "config": config.model_dump(mode="json"),
                    "paths": {key: str(value) if value else None for key, value in dataclasses.asdict(paths).items()},
                }
            ),
            encoding="utf-8",
        )
        _launch(name, count, job)


def most_processes(accumulation: int, devices: int) -> int:
    """As many processes as there are `devices`, or as many fewer as share `accumulation` micro-batches evenly.

    >>> most_processes(8, 0), most_processes(8, 3), most_processes(8, 4), most_processes(3, 2)
    (1, 2, 4, 1)
    """
    return max(count for count in range(1, accumulation + 1) if accumulation % count == 0 and count <= max(1, devices))


def _launch(name: str, count: int, job: Path) -> None:
    """Run `count` processes on one machine, as `torchrun --standalone` does, but without its traceback."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torchrun's default too: else each takes all cores
    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(settings, sys.executable)("-m", __name__, str(job))
    except ChildFailedError as error:
        failed = ", ".join(f"process {rank} with status {f.exitcode}" for rank, f in sorted(error.failures.items()))
        raise UserError(f"stage {name}: of its {count} processes failed: {failed}; what they say is above.") from None


def _main(job_file: str) -> None:
    from mlcslm.training.stage import train_stage

    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    paths = StagePaths(**{key: Path(value) if value else None for key, value in job["paths"].items()})
    try:
        train_stage(job["name"], parse_config(job["config"]), paths)
    except UserError as error:
        print(f"mlcslm: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    _main(sys.argv[1])
