"""Files of mlcslm's own checkout, for commands that run in another folder."""

from __future__ import annotations

import os
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]


def here_or_checkout(path: str | os.PathLike[str]) -> Path:
    """`path`; or where it is relative and there is no such file here, that of the checkout this package runs from.

    Returned unchanged where neither has it.

    >>> here_or_checkout("nowhere/at.all")
    PosixPath('nowhere/at.all')
    """
    path = Path(path)
    ours = _CHECKOUT / path
    return ours if not path.is_absolute() and not path.exists() and ours.exists() else path
