"""The command as a whole: its manual, and how it ends."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mlcslm.cli import app, main, manual
from mlcslm.errors import UserError

REPOSITORY = Path(__file__).parents[2]
CODE = "from mlcslm.cli import main; main()"


@pytest.fixture(scope="module")
def whole() -> str:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "120"}
    )
    return done.stdout


def ended(monkeypatch, capsys, error: BaseException | None) -> tuple[int, str]:
    """Exit status and standard error of a command that raises `error`."""

    class Raising(typer.Typer):
        def __call__(self, *_: object, **__: object) -> None:
            raise SystemExit(0) if error is None else error

    monkeypatch.setattr("mlcslm.cli.app", Raising())
    monkeypatch.setattr("sys.argv", ["mlcslm"])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, 0, ""),
        (UserError("a.txt:3: found x, expected y."), 1, "mlcslm: a.txt:3: found x, expected y.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "results/a"), 1, "mlcslm: results/a: the disk is full"),
        (ZeroDivisionError("oh"), 70, "a bug in mlcslm; please report it"),
    ],
)
def test_exit_status_says_whose_fault_it_is(monkeypatch, capsys, error, status: int, message: str) -> None:
    found, said = ended(monkeypatch, capsys, error)
    assert (found, message in said) == (status, True), said
    assert ("Traceback" in said) == (status == 70)
    documented = (REPOSITORY / "docs" / "cli.md").read_text("utf-8")
    assert f"| {status} |" in documented and re.search(rf"^- {status}: ", manual.EPILOG, re.MULTILINE)


@pytest.mark.slow
def test_a_command_line_that_is_not_understood_ends_with_2(whole: str) -> None:
    for arguments in (["shwo"], ["show", "--colour"]):
        done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2, arguments
        assert "Usage: " in done.stderr


@pytest.mark.slow
def test_interrupted_ends_with_130(tmp_path: Path) -> None:
    config = REPOSITORY / "config" / "demo.yaml"
    command = [sys.executable, "-c", CODE, "status", "--configfile", str(config), "--watch", "60"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert b"Traceback" not in process.stderr.read()


def test_help_lists_every_command_under_a_heading(whole: str) -> None:
    for heading, commands in manual._PANELS.items():
        assert heading in whole
        for command in commands:
            assert re.search(rf"│ {command} ", whole), command
    assert "Others" not in whole


def test_help_names_examples_files_environment_and_exit_status(whole: str) -> None:
    for heading in ("Examples", "Files", "Environment", "Exit status"):
        assert heading in whole
    for status in (0, 1, 2, 70, 130):
        assert f"{status}: " in whole


def test_documented_commands_are_those_that_there_are(whole: str) -> None:
    documented = (REPOSITORY / "docs" / "cli.md").read_text("utf-8")
    for commands in manual._PANELS.values():
        for command in commands:
            assert f"`mlcslm {command}" in documented, command


def test_help_is_printed_without_loading_what_commands_need() -> None:
    """Torch alone would cost seconds."""
    code = "import atexit, sys; sys.argv[1:] = ['--help']; "
    code += "atexit.register(lambda: print('loaded', *HEAVY & set(sys.modules)))"
    code = code.replace("HEAVY", "{'torch', 'transformers', 'scipy', 'duckdb', 'pyarrow'}") + f"; {CODE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded"]


def test_version_is_printed() -> None:
    import mlcslm

    assert CliRunner().invoke(app, ["--version"]).output == f"mlcslm {mlcslm.__version__}\n"
