"""What every benchmark does with what it measured: JSON in a file, lines at the terminal; a mistake is a message."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mlcslm.errors import UserError
from mlcslm.io.files import write_json

Report = dict[str, Any]


def measure(
    run: Callable[[argparse.Namespace], Report],
    options: argparse.Namespace,
    readable: Callable[[Report], Iterable[str]],
    out: Path,
) -> None:
    """Call `run` with `options`, write its report to `out` as JSON and print it as lines.

    Ends the process with status 1, and a message with the script's name, on a UserError.
    """
    try:
        report = run(options)
        write_json(out, report)
    except UserError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(1)
    print("\n".join(readable(report)))
    print(f"written: {out}")
