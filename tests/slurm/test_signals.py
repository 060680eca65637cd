"""What a cluster does to jobs by itself: time limits, more important jobs, and people who cancel."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from slurm_runs import wait_until

pytestmark = pytest.mark.slow

COUNTING_JOB = Path(__file__).parent / "counting_job.py"
STEPS = 600  # a minute


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path) -> Callable[..., tuple[str, Path]]:
    """Submit the counting job as the profile would; returns its number and its file."""

    def run(*options: str, steps: int = STEPS) -> tuple[str, Path]:
        file = tmp_path / "count.txt"
        command = f"srun {sys.executable} {COUNTING_JOB} {file} {steps}"
        usual = ["sbatch", "--parsable", "--requeue", f"--output={tmp_path / 'output.txt'}", "--open-mode=append"]
        return cluster.ask(*usual, *options, f"--wrap={command}").strip(), file

    return run


def field(cluster: Cluster, job: str, name: str) -> str:
    return re.search(rf"\b{name}=(\S+)", cluster.ask("scontrol", "show", "job", job))[1]


def test_a_job_goes_on_after_its_time_limit(cluster: Cluster, submit: Callable[..., tuple[str, Path]]) -> None:
    """SLURM looks at time limits twice a minute: the job is asked between its first half minute and its first."""
    job, file = submit("--partition=gpu", "--time=2", "--signal=TERM@60", steps=700)
    wait_until(lambda: field(cluster, job, "JobState") in ("COMPLETED", "FAILED", "TIMEOUT"))
    assert (field(cluster, job, "JobState"), field(cluster, job, "Restarts")) == ("COMPLETED", "1")
    begun, stopped, again, ended = map(int, file.read_text("utf-8").split())
    assert (begun, again, ended) == (0, stopped, 700)
    assert stopped > 0


def test_a_job_makes_way_for_a_more_important_one_and_goes_on(
    cluster: Cluster, submit: Callable[..., tuple[str, Path]]
) -> None:
    job, file = submit("--partition=gpu", "--nodelist=n1", "--exclusive", "--time=10", steps=100)
    wait_until(file.exists)
    urgent = ("--partition=urgent", "--nodelist=n1", "--exclusive", "--time=10", "--output=/dev/null")
    other = cluster.ask("sbatch", "--parsable", *urgent, "--wrap=sleep 1").strip()
    wait_until(lambda: field(cluster, other, "JobState") == "COMPLETED")
    wait_until(lambda: field(cluster, job, "JobState") in ("COMPLETED", "FAILED", "PREEMPTED"))
    assert (field(cluster, job, "JobState"), field(cluster, job, "Restarts")) == ("COMPLETED", "1")
    begun, stopped, again, ended = map(int, file.read_text("utf-8").split())
    assert (begun, again, ended) == (0, stopped, 100)


def test_a_cancelled_job_saves_and_stays_cancelled(
    cluster: Cluster, submit: Callable[..., tuple[str, Path]], tmp_path: Path
) -> None:
    job, file = submit("--partition=gpu", "--time=10")
    wait_until(file.exists)
    cluster.ask("scancel", job)
    wait_until(lambda: "Run again to resume." in (tmp_path / "output.txt").read_text("utf-8"))
    wait_until(lambda: field(cluster, job, "JobState") == "CANCELLED")
    assert field(cluster, job, "Restarts") == "0"
    assert len(file.read_text("utf-8").split()) == 2
