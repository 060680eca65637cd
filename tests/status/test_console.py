"""What a run shows: Snakemake itself with the plugin, and its records one by one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from mlcslm.config.diarization import SpeakerCorpusConfig
from mlcslm.runtime.job_log import ONLY_TO_LOG, logged
from mlcslm.runtime.progress import say
from mlcslm.speaker_embedding.corpora import index_speakers
from mlcslm.status.console import Console

WORKFLOW = """
rule all:
    input: "good.txt", "bad.txt"
rule score:
    output: "good.txt"
    log: "good.log"
    shell: "echo 'mlcslm: ckpt-4000  dev 32.5 %  (paper 18.99)' > {log}; touch {output}"
rule train:
    output: "bad.txt"
    log: "bad.log"
    shell: "echo 'mlcslm: bad.yaml, line 3: found 7, expected a name.' > {log}; exit 1"
"""


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    monkeypatch.setenv(ONLY_TO_LOG, "")
    return Console(settings(), None)


def settings(**asked: Any) -> Any:
    names = ("dryrun", "verbose", "printshellcmds", "quiet", "debug_dag", "nocolor", "stdout", "show_failed_logs")
    return SimpleNamespace(**(dict.fromkeys(names) | asked))


def record(event: LogEvent | None = None, message: str = "", level: int = logging.INFO, **values: Any) -> Any:
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    made.__dict__.update(values | ({"event": event} if event else {}))
    return made


def start(console: Console, log: Path, jobid: int = 1, rule: str = "train") -> None:
    wildcards = {"checkpoint": "ckpt-4000"}
    console.emit(record(LogEvent.JOB_INFO, jobid=jobid, rule_name=rule, wildcards=wildcards, log=[str(log)]))


@pytest.mark.slow
def test_results_come_as_they_are_and_faults_come_last(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(WORKFLOW, encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--keep-going", "--logger", "mlcslm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert "ckpt-4000  dev 32.5 %  (paper 18.99)" in lines
    assert lines[-2:] == ["train failed (log: bad.log):", "mlcslm: bad.yaml, line 3: found 7, expected a name."]
    assert len(lines) < 10, done.stderr


def test_a_running_job_is_one_line_with_its_progress(console: Console, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("ckpt-4000:  10%|█ | 30/300 [00:30<04:30,  1.00step/s]\rckpt-4000:  20%|██ | 60/300 [01:00<04:00]")
    start(console, log)
    start(console, tmp_path / "none.log", 2, "demo_corpus")
    console.emit(record(LogEvent.RUN_INFO, stats={"train": 11, "table": 1, "total": 12}))
    assert console.lines()[0].startswith("0 of 12 jobs done, ")
    console.emit(record(LogEvent.PROGRESS, done=3, total=12))
    head, first, second = console.lines()
    assert head.startswith("3 of 12 jobs done, ")
    assert first.strip() == "train ckpt-4000   60 of 300 (20%), about 4 min left"
    assert second.strip() == "demo corpus ckpt-4000   0 s"
    console.emit(record(LogEvent.JOB_FINISHED, job_id=1))
    assert len(console.lines()) == 2
    console.close()


def test_a_failed_job_says_why_and_repeats_it_last(
    console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a.log"
    log.write_text("loading\nmlcslm: 2 faults:\n  a.yaml: no\nb.yaml: no\n")
    start(console, log)
    console.emit(record(LogEvent.ERROR, "CalledProcessError in file x", logging.ERROR))
    console.emit(record(LogEvent.JOB_ERROR, jobid=1, rule_name="train", log=[str(log)]))
    console.emit(record(None, "Exiting because a job execution failed.", logging.ERROR))
    console.emit(record(None, "disk almost full", logging.WARNING))
    console.close()
    fault = f"train ckpt-4000 failed (log: {log}):\nmlcslm: 2 faults:\n  a.yaml: no\nb.yaml: no\n"
    assert capsys.readouterr().err == f"{fault}disk almost full\n\n{fault}"


def test_a_failure_with_nothing_after_it_is_shown_once(
    console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = ""
    for number in (1, 2):
        log = tmp_path / f"{number}.log"
        log.write_text(f"mlcslm: fault {number}\n")
        start(console, log, number)
        console.emit(record(LogEvent.JOB_ERROR, jobid=number, rule_name="train", log=[str(log)]))
        faults += f"train ckpt-4000 failed (log: {log}):\nmlcslm: fault {number}\n"
    console.emit(record(None, "Exiting because a job execution failed.", logging.ERROR))
    console.close()
    assert capsys.readouterr().err == faults


def test_what_a_job_skipped_is_shown(console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `corpus.skip_faulty` asks for, by a job that indexes speakers."""
    for speaker in ("a", "b", "empty"):
        (tmp_path / "corpus" / speaker).mkdir(parents=True)
        if speaker != "empty":
            (tmp_path / "corpus" / speaker / "1.wav").touch()
    log = tmp_path / "a.log"
    start(console, log)
    with logged(log):
        index_speakers("toy", SpeakerCorpusConfig(folder=str(tmp_path / "corpus")), tmp_path / "index.parquet")
    capsys.readouterr()
    console.emit(record(LogEvent.JOB_FINISHED, job_id=1))
    assert capsys.readouterr().err == "toy: skipped 1 folders without wav or flac files\n"
    console.close()


def test_a_log_without_an_end_is_not_read(console: Console, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.symlink_to("/dev/zero")  # as /dev/full, which a job's log can be where the disk is full
    start(console, log)
    console.emit(record(LogEvent.JOB_FINISHED, job_id=1))
    console.close()


@pytest.mark.parametrize("asked", [{"dryrun": True}, {"verbose": True}, {"quiet": {"rules"}}, {"printshellcmds": True}])
def test_what_is_asked_of_snakemake_itself_is_printed_as_ever(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ONLY_TO_LOG, raising=False)
    console = Console(settings(**{"quiet": set()} | asked), None)
    assert ONLY_TO_LOG not in os.environ
    console.emit(record(None, "Building DAG of jobs..."))
    console.close()
    assert "Building DAG of jobs..." in capsys.readouterr().err


def test_jobs_of_a_run_that_shows_their_logs_print_nothing(
    console: Console, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert os.environ[ONLY_TO_LOG] == "1"
    with logged(tmp_path / "a.log"):
        say("a message")
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "a.log").read_text() == "mlcslm: a message\n"
    console.close()
