"""The workflow on a SLURM cluster: the same tables, even if jobs are stopped on the way."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pyarrow.parquet as pq
import pytest
from slurm_cluster import Cluster
from slurm_runs import Interrupter, Interruption, Run, checkpoint_hashes, rows_in

pytestmark = pytest.mark.slow

CHECKPOINTS = ("baseline-2", "ckpt-7000", "ckpt-9000", "ckpt-12500/format+accuracy+correction")


@pytest.fixture(scope="module")
def disturbed(cluster: Cluster, toy_config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The workflow on the cluster, one job of each kind of which is asked to stop; with those jobs."""
    run = Run(tmp_path_factory.mktemp("cluster"), toy_config)
    work = run.results / "work"
    log = run.results / "logs" / "train_embedding" / "resnet101.log"
    jobs = [
        Interruption("train/ckpt-7000", rows_in(work / "ckpt-7000", "*/log.jsonl", 5)),
        Interruption(
            "train/ckpt-12500_format+accuracy+correction",
            rows_in(work / "ckpt-12500" / "format+accuracy+correction", "*/log.jsonl", 3),
        ),
        Interruption("train_embedding/resnet101", lambda: log.is_file() and "step 15:" in log.read_text("utf-8")),
        Interruption(
            "decode_training_set/ckpt-7000_all",
            rows_in(run.results / "reasoning" / "hypotheses" / "ckpt-7000", ".*.partial", 3),
        ),
        Interruption("decode/ckpt-9000_greedy_dev_all", rows_in(work / "decoding" / "ckpt-9000", "**/.*.partial", 3)),
    ]
    interrupter = Interrupter(run, cluster, jobs)
    process = run.start(run.tables(), cluster=cluster)
    interrupter.start()
    try:
        run.finish(process)
    finally:
        interrupter.is_over.set()
    return run, {one.rule: one.job for one in jobs}


def test_the_cluster_makes_the_same_tables(disturbed: Any, undisturbed: Run) -> None:
    run, _ = disturbed
    for found, expected in zip(run.tables(), undisturbed.tables(), strict=True):
        assert found.read_bytes() == expected.read_bytes()


def test_interrupted_jobs_end_in_the_same_hashes(disturbed: Any, undisturbed: Run) -> None:
    run, _ = disturbed
    for name in CHECKPOINTS:
        folders = [one.results / "checkpoints" / name for one in (run, undisturbed)]
        assert checkpoint_hashes(folders[0]) == checkpoint_hashes(folders[1])
    models = [one.results / "embeddings" / "resnet101" / "model.safetensors" for one in (run, undisturbed)]
    assert models[0].read_bytes() == models[1].read_bytes()
    for path in (undisturbed.results / "hypotheses").rglob("dev.parquet"):
        found = pq.read_table(run.results / path.relative_to(undisturbed.results))
        assert found.drop_columns("seconds") == pq.read_table(path).drop_columns("seconds")


def test_jobs_that_were_asked_to_stop_were_started_again(disturbed: Any, cluster: Cluster) -> None:
    _, interrupted = disturbed
    assert all(interrupted.values()), f"ended before they could be interrupted: {interrupted}"
    restarts = {
        rule: re.findall(r"Restarts=(\d+)", cluster.ask("scontrol", "show", "job", job))
        for rule, job in interrupted.items()
    }
    assert restarts == {rule: ["1"] for rule in interrupted}


def test_an_interrupted_stage_went_on_where_it_was(disturbed: Any) -> None:
    """No state is ever saved but for being asked to stop."""
    run, _ = disturbed
    for name, steps in (("ckpt-7000", 60), ("ckpt-12500/format+accuracy+correction", 12)):
        log = (run.results / "logs" / "train" / f"{name}.log").read_text("utf-8")
        (step,) = re.findall(rf"{re.escape(name)}: resuming from step (\d+) of {steps}", log)
        assert 0 < int(step) < steps
    log = (run.results / "logs" / "train_embedding" / "resnet101.log").read_text("utf-8")
    assert re.search(r"Resuming from step \d+ of 150", log)


def test_slurms_own_record_has_every_job_with_what_it_asked_for(disturbed: Any, cluster: Cluster) -> None:
    run, _ = disturbed
    text = run.output.read_text("utf-8")
    planned = int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])
    rules = run.submitted()
    completed = {job["JobId"]: job for job in cluster.jobs() if job["JobState"] == "COMPLETED"}
    assert len(rules) == planned
    assert set(rules) <= set(completed)
    counts = Counter(rule.split("/")[0] for rule in rules.values())
    assert (counts["train"], counts["decode"], counts["diarize"], counts["table"]) == (4, 7, 9, 3)
    asked = {rule: completed[number] for number, rule in rules.items()}
    train, table = asked["train/ckpt-7000"], asked["table/table6"]
    assert (train["Partition"], train["TimeLimit"]) == ("gpu", "1440")
    assert {"mem=250G", "node=1"} <= set(train["Tres"].split(","))
    assert (table["Partition"], table["TimeLimit"]) == ("cpu", "240")


def test_both_nodes_work(disturbed: Any, cluster: Cluster) -> None:
    run, _ = disturbed
    rules = run.submitted()
    nodes: dict[str, Counter[str]] = {}
    for job in cluster.jobs():
        if job["JobId"] in rules and job["JobState"] == "COMPLETED":
            nodes.setdefault(job["NodeList"], Counter())[rules[job["JobId"]].split("/")[0]] += 1
    assert set(nodes) == {"n1", "n2"}
    # Neither is left with the odd job.
    for counts in nodes.values():
        assert counts.total() > 10 and counts["diarize"] > 0 and counts["transcribe_segments"] > 0
