"""Being asked to stop: when work ends, with which status, and what SLURM is asked for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcslm.runtime.interruption import (
    STATUS,
    Interrupted,
    between_steps,
    exits_on_request,
    outlive_one_signal,
    raises_on_request,
)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)  # Python runs handlers between two of its instructions


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Lets this process be a SLURM job, with commands that say `state` and write down what they are called with."""

    def be_job(state: str, *, refuses: str = "", restarts: int = 0) -> Path:
        calls = tmp_path / "calls"
        answers = {"squeue": f"printf '%-20s%-20s\\n' {state} {restarts}" if state else ":", "scontrol": ":"}
        if refuses:
            answers[refuses] = "echo denied >&2; exit 1"
        for name, answer in answers.items():
            (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n{answer}\n', "utf-8")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        return calls

    return be_job


def test_work_ends_at_once_with_a_shells_status(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, exits_on_request():
        try:
            ask()
        except Exception:
            pytest.fail("taken for a fault")
        pytest.fail("went on")
    assert caught.value.code == STATUS == 143
    assert capsys.readouterr().err == ("mlcslm: stopped by SIGTERM. Finished work is kept. Run again to resume.\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_ends_work_with_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, exits_on_request():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    printed = capsys.readouterr()
    assert "stopped by Ctrl-C" in printed.out + printed.err and "Run again to resume" in printed.out + printed.err


def test_steps_are_finished_and_what_was_saved_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    with pytest.raises(SystemExit), exits_on_request(), between_steps() as stop:
        for step in range(5):
            if step == 2:
                ask()
                ask()
            done.append(step)
            stop.leave(f"step {step}")
    assert done == [0, 1, 2]
    assert "Saved: step 2. Run again to resume." in capsys.readouterr().err


def test_work_that_ends_by_itself_just_then_is_not_interrupted() -> None:
    with exits_on_request():
        with between_steps():
            ask()
        finished = True
    assert finished
    with exits_on_request(), between_steps() as stop:
        assert not stop.requested, "remembers the job before"


def test_outside_a_job_the_signal_is_what_it_always_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with between_steps() as stop:
        assert signal.getsignal(signal.SIGTERM) is before
        assert not stop.requested


@pytest.mark.parametrize("of_loader", [False, True])
def test_children_end_by_the_signal_and_a_loaders_by_the_second_one(of_loader: bool) -> None:
    with raises_on_request():
        child = os.fork()
        if child == 0:
            if of_loader:
                outlive_one_signal()
                ask()
            ask()
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def test_slurm_starts_a_running_job_again(slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    calls = slurm("RUNNING")
    with pytest.raises(SystemExit), exits_on_request(), between_steps() as stop:
        ask()
        stop.leave("the state after step 3")
    assert calls.read_text("utf-8").splitlines() == [
        "squeue --noheader --jobs=17 --Format=State:20,RestartCnt:20",
        "scontrol requeue 17",
    ]
    assert "Saved: the state after step 3. SLURM requeued job 17." in capsys.readouterr().err


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PENDING", ""])
def test_a_job_that_is_cancelled_or_started_again_anyway_is_left_alone(
    slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str], state: str
) -> None:
    calls = slurm(state)
    with pytest.raises(SystemExit), exits_on_request():
        ask()
    assert "scontrol" not in calls.read_text("utf-8")
    assert f"SLURM reports job 17 as {state or 'gone'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("scontrol", "refuses to requeue job 17 (denied). Run again to resume."),
        ("squeue", "no information on job 17 (denied). Run again to resume."),
    ],
)
def test_slurm_that_refuses_is_told_of(
    slurm: Callable[..., Path], capsys: pytest.CaptureFixture[str], command: str, expected: str
) -> None:
    slurm("RUNNING", refuses=command)
    with pytest.raises(SystemExit), exits_on_request():
        ask()
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("saved", "restarts", "again"), [("", 2, True), ("", 3, False), ("x", 99, True)])
def test_a_job_that_gets_nowhere_is_not_started_for_ever(
    slurm: Callable[..., Path], saved: str, restarts: int, again: bool
) -> None:
    calls = slurm("RUNNING", restarts=restarts)
    with pytest.raises(SystemExit), exits_on_request():
        raise Interrupted(saved)
    assert (calls.exists() and "scontrol requeue 17" in calls.read_text("utf-8")) is again
