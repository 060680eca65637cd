"""Bars: of what lasts, and of nothing else."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator

import pytest

from mlcslm.runtime import progress as module
from mlcslm.runtime.progress import progress, waiting, watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    with contextlib.redirect_stderr(Terminal()) as terminal:
        yield terminal


def test_what_is_over_soon_shows_nothing(monkeypatch) -> None:
    with at_a_terminal(monkeypatch) as terminal:
        assert list(watched(range(50), "counting")) == list(range(50))
        with waiting("loading"):
            pass
        with progress(3, "stage", "step", initial=1) as bar:
            bar.update(2)
    assert terminal.getvalue().strip() == ""


def test_what_lasts_shows_how_far_it_is(monkeypatch) -> None:
    with at_a_terminal(monkeypatch) as terminal:
        for _ in watched([1, 2, 3], "counting", "session"):
            time.sleep(0.1)
        assert "counting: 100%" in terminal.getvalue() and "3/3" in terminal.getvalue()
        with waiting("loading"):
            time.sleep(0.4)
        assert "loading … 00:00" in terminal.getvalue()


def test_in_a_log_waiting_is_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    with waiting("loading"):
        time.sleep(0.3)
    assert capsys.readouterr().err == "loading …\n"


def test_an_error_ends_the_waiting_and_gets_through(monkeypatch) -> None:
    with at_a_terminal(monkeypatch):
        with pytest.raises(ZeroDivisionError), waiting("loading"):
            raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            for _ in watched([1], "counting"):
                raise ZeroDivisionError
