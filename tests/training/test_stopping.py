"""A stage asked to stop saves after the current step, and resumes from there to the same weights."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from mlcslm.io.files import read_rows, sha256
from mlcslm.runtime.interruption import STATUS, exits_on_request
from mlcslm.training.launch import launch_stage
from mlcslm.training.settings import StagePaths

PATIENCE_S = 600  # for a loaded machine
STAGE = {"trains": ["projector", "lm_lora"], "steps": 30, "batch_size": 2, "accumulation": 2, "save_steps": 1000}


def ask_at(step: int, work: Path, job: Callable[[], Any]) -> int:
    """Run `job` in a process of its own and ask it to stop after some steps; returns its exit status."""

    def run() -> None:
        os.environ.pop("SLURM_JOB_ID", None)
        with exits_on_request():
            job()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    deadline = time.monotonic() + PATIENCE_S
    while not any(len(read_rows(log)) >= step for log in work.glob("*/log.jsonl")):
        assert process.is_alive() and time.monotonic() < deadline, f"status {process.exitcode}"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGTERM)  # type: ignore[arg-type]
    process.join(PATIENCE_S)
    return process.exitcode  # type: ignore[return-value]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir() if path.name != "training_log.parquet"}


def test_a_stage_resumes_from_where_it_was_asked_to_stop(
    make_config: Callable[..., Any], train: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = make_config({"a": STAGE}, models={"lora": {"dropout": 0.2}}, resources={"data_workers": 1})
    undisturbed = train(config, "a", tmp_path / "undisturbed")
    assert ask_at(5, tmp_path / "work" / "a", lambda: train(config, "a", tmp_path)) == STATUS
    assert not (tmp_path / "a").exists()
    (state,) = (tmp_path / "work" / "a").glob("*/checkpoint-*/whole")
    step = int(state.parent.name.split("-")[1])
    assert 5 <= step < 30
    assert f"Saved: the state after step {step} of 30. Run again to resume." in capfd.readouterr().err
    assert contents(train(config, "a", tmp_path)) == contents(undisturbed)
    assert f"a: resuming from step {step} of 30" in capfd.readouterr().err
    assert pq.read_table(tmp_path / "a" / "training_log.parquet")["step"].to_pylist() == list(range(1, 31))


def test_processes_that_share_a_step_stop_after_the_same_one(
    make_config: Callable[..., Any], train: Callable[..., Path], tmp_path: Path, tones: Path
) -> None:
    """Their parent is asked; torchrun passes it on, none waits for another, and a single process can resume."""
    config = make_config({"a": STAGE})
    one = train(config, "a", tmp_path / "one")
    paths = StagePaths(out=tmp_path / "a", work=tmp_path / "work" / "a", manifest=tones)
    assert ask_at(3, paths.work, lambda: launch_stage("a", config, paths, processes=2)) == STATUS
    (state,) = paths.work.glob("*/checkpoint-*/whole")
    assert 3 <= int(state.parent.name.split("-")[1]) < 30
    train(config, "a", tmp_path)
    for file in ("projector.safetensors", "lm_lora.safetensors"):
        expected, found = load_file(one / file), load_file(tmp_path / "a" / file)
        assert all((found[name] - expected[name]).abs().max() < 1e-4 for name in expected), file
    assert not list(paths.work.glob("job-*.json"))
