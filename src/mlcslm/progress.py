"""Progress bars: live at a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress(total: int, label: str, unit: str = "it", initial: int = 0) -> tqdm[Any]:
    """A bar on standard error; where that is no terminal, at most one line in 20 seconds."""
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        initial=initial,
        mininterval=1 if sys.stderr.isatty() else 20,
        dynamic_ncols=True,
        file=sys.stderr,
    )
