"""Killed at any step and rerun, or run twice at once, a stage ends with the same weights."""

from __future__ import annotations

import fcntl
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.io.files import read_rows, sha256
from mlcslm.training.settings import StagePaths

pytestmark = pytest.mark.slow

PATIENCE_S = 300  # for a loaded machine


@pytest.fixture
def start(train: Callable[..., Path]) -> Callable[..., multiprocessing.Process]:
    """Train a stage in a process forked from this one: importing torch again would take most of the time."""

    def run(config: Any, name: str, root: Path, **paths: Path) -> multiprocessing.Process:
        process = multiprocessing.get_context("fork").Process(target=train, args=(config, name, root), kwargs=paths)
        process.start()
        return process

    return run


def wait_for(condition: Callable[[], Any], process: multiprocessing.Process | None = None) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        assert process is None or process.is_alive(), f"ended by itself with status {process.exitcode}"
        time.sleep(0.002)
    return found


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a checkpoint, except its log, whose times differ."""
    return {path.name: sha256(path) for path in folder.iterdir() if path.name != "training_log.parquet"}


def test_a_killed_stage_ends_with_the_same_weights(
    make_config,
    train: Callable[..., Path],
    start: Callable[..., multiprocessing.Process],
    tmp_path: Path,
    reasoning: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Killed twice, with dropout, accumulated gradients and a falling prompt-loss weight, which must be restored."""
    stage = {"trains": ["projector", "embedding", "head", "lm_lora"], "template": "reasoning", "steps": 60}
    stage |= {"batch_size": 2, "accumulation": 2, "save_steps": 7, "learning_rate": 3e-3}
    stage |= {"prompt_loss_weight": {"steps": 40}, "optimizer": "muon"}  # AdamW for embedding and head
    stages = {"heard": {"steps": 1}, "a": stage}
    config = make_config(stages, models={"lora": {"dropout": 0.2}}, reasoning={"checkpoint": "heard"})
    undisturbed = train(config, "a", tmp_path / "undisturbed", reasoning=reasoning)
    root = tmp_path / "killed"
    for step in (12, 33):
        process = start(config, "a", root, reasoning=reasoning)
        (log,) = wait_for(lambda: list((root / "work" / "a").glob("*/log.jsonl")), process)
        wait_for(lambda log=log, step=step: len(read_rows(log)) >= step, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (root / "a").exists()
        assert step <= len(read_rows(log)) < 60, "killed too late to show anything"
    newest = max(int(path.parent.name.split("-")[1]) for path in log.parent.glob("*/whole"))
    capfd.readouterr()
    train(config, "a", root, reasoning=reasoning)
    assert f"a: resuming from step {newest} of 60" in capfd.readouterr().err
    assert contents(root / "a") == contents(undisturbed)
    logs = [pq.read_table(folder / "training_log.parquet").to_pydict() for folder in (root / "a", undisturbed)]
    assert logs[0]["step"] == list(range(1, 61))
    for column in ("loss", "learning_rate"):
        assert logs[0][column] == logs[1][column]
    assert logs[0]["seconds"] == sorted(logs[0]["seconds"])
    assert [path.suffix for path in (root / "work" / "a").iterdir()] == [".lock"]


def test_a_state_truncated_by_a_kill_is_skipped(
    make_config, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlcslm.training.trainer import SpeechTrainer

    config = make_config({"a": {"steps": 6, "save_steps": 2}})
    undisturbed = train(config, "a", tmp_path / "undisturbed")

    class Killed(BaseException):
        pass

    save = SpeechTrainer._save_optimizer_and_scheduler

    def half(self: SpeechTrainer, folder: str) -> None:
        if self.state.global_step == 4:
            raise Killed
        save(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(SpeechTrainer, "_save_optimizer_and_scheduler", half)
        with pytest.raises(Killed):
            train(config, "a", tmp_path)
    (work,) = (path for path in (tmp_path / "work" / "a").iterdir() if path.is_dir())
    assert (work / "checkpoint-4" / "trained.safetensors").exists()
    assert contents(train(config, "a", tmp_path)) == contents(undisturbed)


def test_a_second_process_waits_and_keeps_the_firsts_result(
    make_config, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config({"a": {"steps": 2}})
    made = train(config, "a", tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    (lock,) = (tmp_path / "work" / "a").glob("*.lock")
    second = threading.Thread(target=train, args=(config, "a", tmp_path))
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second.start()
        wait_for(lambda: "another process is training this stage" in capsys.readouterr().err)
        second.join(0.5)
        assert second.is_alive()
    second.join(PATIENCE_S)
    assert not second.is_alive()
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before


def test_a_second_process_trains_if_the_first_failed(
    make_config, train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config({"a": {"steps": 2}})
    expected = contents(train(config, "a", tmp_path))
    (lock,) = (tmp_path / "work" / "a").glob("*.lock")
    (tmp_path / "a" / "checkpoint.json").unlink()
    second = threading.Thread(target=train, args=(config, "a", tmp_path))
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second.start()
        wait_for(lambda: "another process is training this stage" in capsys.readouterr().err)
    second.join(PATIENCE_S)
    assert contents(tmp_path / "a") == expected


def test_two_processes_train_as_one_that_accumulates(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path
) -> None:
    """accelerate distributes the planned batches in turn: two processes get what one would accumulate."""
    from safetensors.torch import load_file

    from mlcslm.training.launch import launch_stage

    stage = {"trains": ["projector", "embedding", "head", "lm_lora", "encoder_lora"], "template": "tagged"}
    stage |= {"steps": 4, "batch_size": 3}
    one = train(make_config({"a": stage | {"accumulation": 2}}), "a", tmp_path / "one")
    root = tmp_path / "two"
    paths = StagePaths(out=root / "a", work=root / "work" / "a", manifest=tones)
    launch_stage("a", make_config({"a": stage | {"accumulation": 2}}), paths, processes=2)
    two = root / "a"
    logs = [pq.read_table(folder / "training_log.parquet").to_pydict() for folder in (one, two)]
    assert logs[1]["step"] == [1, 2, 3, 4]
    assert logs[1]["loss"] == pytest.approx(logs[0]["loss"], abs=1e-5)
    for file in ("projector.safetensors", "embedding.safetensors", "lm_lora.safetensors", "encoder_lora.safetensors"):
        expected, found = load_file(one / file), load_file(two / file)
        assert all((found[name] - expected[name]).abs().max() < 1e-5 for name in expected), file


@pytest.mark.usefixtures("forked_processes")
def test_a_mistake_in_several_processes_is_reported_without_a_traceback(
    make_config, tmp_path: Path, tones: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from mlcslm.errors import UserError
    from mlcslm.training.launch import launch_stage

    config = make_config({"a": {"steps": 1, "batch_size": 99, "accumulation": 2}})
    paths = StagePaths(out=tmp_path / "a", work=tmp_path / "work", manifest=tones)
    with pytest.raises(UserError, match=r"stage a: training with 2 processes failed: process \d with status"):
        launch_stage("a", config, paths, processes=2)
    assert not (tmp_path / "a").exists()
    output = capfd.readouterr().err
    assert "mlcslm: stages.a.batch_size is 99" in output
    assert "Traceback" not in output


def test_processes_that_cannot_share_a_step_are_refused(make_config, tmp_path: Path, tones: Path) -> None:
    from mlcslm.errors import UserError
    from mlcslm.training.launch import launch_stage

    config = make_config({"a": {"steps": 1, "accumulation": 3}})
    paths = StagePaths(out=tmp_path / "a", work=tmp_path / "work", manifest=tones)
    with pytest.raises(UserError, match=r"stages\.a\.accumulation is 3, which 2 processes cannot share"):
        launch_stage("a", config, paths, processes=2)
