"""What befalls jobs at chosen moments; in a module that their processes can import."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any


def end(everything: bool) -> None:
    """Kill this job, or Snakemake and all its jobs."""
    if everything:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_training(step: int) -> None:
    from mlcslm.training.log import TrainingLog

    log = TrainingLog.on_log

    def on_log(self: TrainingLog, args: Any, state: Any, *rest: Any, **options: Any) -> None:
        log(self, args, state, *rest, **options)
        if state.global_step == step:
            end(everything=False)

    TrainingLog.on_log = on_log  # type: ignore[method-assign]


def killed_in_decoding(batches: int) -> None:
    from mlcslm.decoding.hypothesis_files import PartialHypotheses

    add, done = PartialHypotheses.add, []

    def killing(self: PartialHypotheses, rows: Any) -> None:
        add(self, rows)
        done.append(rows)
        if len(done) == batches:
            end(everything=False)

    PartialHypotheses.add = killing  # type: ignore[method-assign]


def all_killed_at_the_marker() -> None:
    """Once a checkpoint's weights are written, and before it is said to be one."""
    from mlcslm.model import checkpoint

    checkpoint.write_checkpoint_file = lambda *_: end(everything=True)


def all_killed_in_the_database() -> None:
    from mlcslm.results import intervals

    intervals.insert_intervals = lambda *_: end(everything=True)


LOG = Path("results", "logs", "decode", "ckpt-4000", "greedy", "dev", "all.log")


def log_on_a_full_disk() -> None:
    """Let that log be on a disk without space; Snakemake has removed the one of before."""
    if not LOG.is_symlink():
        LOG.unlink(missing_ok=True)
        LOG.symlink_to("/dev/full")
