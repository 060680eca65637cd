"""What surrounds each rule's script: the configuration, the log file, and mistakes without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.workflow.job import job
from mlcslm.workflow.layout import Layout

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Snakemake's object in a script, as far as `job` looks at it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    config: dict[str, Any] = {
        "results": str(tmp_path),
        "languages": str(REPOSITORY / "config" / "languages.tsv"),
        "tables": str(REPOSITORY / "config" / "tables.yaml"),
        "models": {"encoder": "e", "language_model": "l"},
        "stages": {"a": {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}},
        "decodings": {"greedy": {}},
    }
    return SimpleNamespace(config=config, log=[str(tmp_path / "job.log")], threads=3)


def test_a_job_gets_its_configuration_and_its_threads(rule: SimpleNamespace, tmp_path: Path) -> None:
    with job(rule) as (config, layout):
        assert config.stages["a"].steps == 1
        assert isinstance(layout, Layout)
        assert layout.root == tmp_path
        assert os.environ["OMP_NUM_THREADS"] == "3"


def test_what_a_job_prints_goes_to_the_terminal_and_to_its_log(
    rule: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout, sys.stderr
    with job(rule):
        print("to standard output")
        print("to standard error", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == before
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("to standard output\n", "to standard error\n")
    assert Path(rule.log[0]).read_text() == "to standard output\nto standard error\n"


@pytest.mark.parametrize("error", [UserError("a.wav: cut short"), FaultyInput("a corpus:", ["a.wav: cut short"])])
def test_a_mistake_ends_a_job_with_its_message_alone(
    rule: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: UserError
) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(SystemExit) as ended, job(rule):
        raise error
    assert ended.value.code == 1
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().err == f"mlcslm: {error}\n" == Path(rule.log[0]).read_text()


def test_a_mistake_in_the_configuration_ends_a_job_as_well(
    rule: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    rule.config["seeed"] = 1
    with pytest.raises(SystemExit) as ended, job(rule):
        pass
    assert ended.value.code == 1
    assert "seeed: unknown key" in capsys.readouterr().err


def test_our_own_faults_keep_their_traceback(rule: SimpleNamespace, tmp_path: Path) -> None:
    program = f"""
        from types import SimpleNamespace
        from mlcslm.workflow.job import job
        with job(SimpleNamespace(config={rule.config!r}, log={rule.log!r}, threads=1)):
            print("begun")
            1 / 0
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in done.stderr
    # Who looks into the log of a failed job finds the reason there too.
    assert "ZeroDivisionError" in Path(rule.log[0]).read_text()
