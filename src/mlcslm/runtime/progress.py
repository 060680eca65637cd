"""Progress of anything that takes longer than two seconds: live at a terminal, an occasional line in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

PATIENCE_S = 2.0
"""Anything shorter shows nothing."""
_LOG_INTERVAL_S = 20.0

Item = TypeVar("Item")


if TYPE_CHECKING:
    _Tqdm = tqdm[Any]
else:
    _Tqdm = tqdm  # generic in its stubs only


class _Bar(_Tqdm):
    """A bar that appears after a delay, and at its end if it lasted longer, which tqdm's own would not in a log."""

    _time: Callable[[], float]  # tqdm's clock, which its stubs lack

    def close(self) -> None:
        """Show the bar's final state."""
        if not self.disable and self._time() >= self.start_t + (self.delay or 0.0):
            self.last_print_t = self._time()
        super().close()


def progress(total: int | None, label: str, unit: str = "it", initial: int = 0) -> tqdm[Any]:
    """A bar on standard error; at most one line in 20 seconds if that is not a terminal.

    A job's log has every bar, however short, as a record of what the job did.
    """
    return _Bar(
        total=total,
        desc=label,
        unit=unit,
        initial=initial,
        mininterval=1 if sys.stderr.isatty() else _LOG_INTERVAL_S,
        delay=0 if getattr(sys.stderr, "keeps_a_log", False) else PATIENCE_S,
        dynamic_ncols=True,
        file=sys.stderr,
    )


def watched(items: Iterable[Item], label: str, unit: str = "it", total: int | None = None) -> Iterator[Item]:
    """The items as they come, with a progress bar; total: their number, by default their length if they have one.

    >>> list(watched([1, 2], "counting"))
    [1, 2]
    """
    count = getattr(items, "__len__", None)
    with progress(total if count is None else count(), label, unit) as bar:
        for item in items:
            yield item
            bar.update()


def say(message: object) -> None:
    """Print `mlcslm: message` to standard error on a line of its own, closing open bars first."""
    for bar in list(tqdm._instances):  # type: ignore[attr-defined]
        bar.close()
    print(f"mlcslm: {message}", file=sys.stderr)


@contextlib.contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show `label` and the elapsed time while the context lasts, for work that cannot be counted.

    If standard error is not a terminal, this is a single line.
    """
    over = threading.Event()
    thread = threading.Thread(target=_tell, args=(label, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(label: str, over: threading.Event) -> None:
    if over.wait(PATIENCE_S):
        return
    if not sys.stderr.isatty():
        print(f"{label} …", file=sys.stderr)
        return
    with tqdm(desc=label, bar_format="{desc} … {elapsed}", file=sys.stderr, leave=False) as clock:
        clock.start_t -= PATIENCE_S
        while not over.wait(1):
            clock.refresh()
