"""Shared by all benchmarks: describes the machine, writes and prints the report, and turns mistakes into messages."""

from __future__ import annotations

import argparse
import os
import platform
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

    On a UserError, prints it after the script's name and exits with status 1.
    """
    try:
        report = run(options)
        write_json(out, report)
    except UserError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(1)
    print("\n".join(readable(report)))
    print(f"written: {out}")


def machine() -> dict[str, Any]:
    """What a report says of the machine and of the libraries that compute."""
    import torch  # not of benchmarks that need neither
    import transformers

    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}",
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
