"""A job of many short steps that saves how far it is: counting_job.py FILE STEPS."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mlcslm.runtime.interruption import between_steps, exits_on_request


def count(file: Path, steps: int) -> None:
    """Count to `steps` from what `file` says; each line is where a run began or ended."""
    step = int(file.read_text("utf-8").split()[-1]) if file.exists() else 0
    with open(file, "a", encoding="utf-8", buffering=1) as out, exits_on_request(), between_steps() as stop:
        out.write(f"{step}\n")
        while step < steps:
            time.sleep(0.1)
            step += 1
            if stop.requested:
                out.write(f"{step}\n")
            stop.leave(f"step {step}")
        out.write(f"{step}\n")


if __name__ == "__main__":
    count(Path(sys.argv[1]), int(sys.argv[2]))
