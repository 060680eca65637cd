"""A stage on two nodes of two processes each, which srun starts inside one job."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from slurm_cluster import Cluster
from slurm_runs import Interrupter, Interruption, Run, rows_in

pytestmark = pytest.mark.slow

# As docs/slurm.md has it, but for the size.
NODES = {"mpi": "srun", "nodes": 2, "tasks_per_node": 2, "gpu": 4, "slurm_partition": "gpu", "mem_mb": 1000}


def test_two_nodes_train_as_one_and_stop_together(cluster: Cluster, undisturbed: Run, tmp_path: Path) -> None:
    run = Run(tmp_path, undisturbed.config)
    shutil.copytree(undisturbed.results, run.results)
    checkpoint = run.results / "checkpoints" / "baseline-2"
    shutil.rmtree(checkpoint)
    job = Interruption("train/baseline-2", rows_in(run.results / "work" / "baseline-2", "*/log.jsonl", 3))
    interrupter = Interrupter(run, cluster, [job])
    requests = [f"train:{name}={value}" for name, value in NODES.items()]
    process = run.start([checkpoint / "checkpoint.json"], "--set-resources", *requests, cluster=cluster)
    interrupter.start()
    try:
        run.finish(process)
    finally:
        interrupter.is_over.set()
    (record,) = (one for one in cluster.jobs() if one["JobId"] == job.job and one["JobState"] == "COMPLETED")
    assert record["NodeCnt"] == "2"
    assert re.findall(r"Restarts=(\d+)", cluster.ask("scontrol", "show", "job", job.job)) == ["1"]
    log = (run.results / "logs" / "train" / "baseline-2.log").read_text("utf-8")
    assert {int(step) for step in re.findall(r"baseline-2: resuming from step (\d+) of 12", log)} <= set(range(3, 12))
    assert len(re.findall("baseline-2: resuming", log)) == 4
    expected = undisturbed.results / "checkpoints" / "baseline-2"
    losses = [pq.read_table(folder / "training_log.parquet")["loss"].to_pylist() for folder in (checkpoint, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    for file in ("projector.safetensors", "lm_lora.safetensors"):
        found, tensors = load_file(checkpoint / file), load_file(expected / file)
        assert all((found[name] - tensors[name]).abs().max() < 1e-4 for name in tensors), file
