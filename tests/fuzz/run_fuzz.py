"""Fuzz every reader: `python tests/fuzz/run_fuzz.py [--inputs 100000] [--seed 1] [--only NAME]`.

Readers get equal shares of the inputs, rounded up. Exits with status 1 if a reader raised anything but UserError, took
longer than 5 s or touched a file outside its folder, and prints the inputs.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from readers import READERS, fuzz


def main() -> int:
    """Fuzz the readers, print one line for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="a reader's file name")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    chosen = [reader for reader in READERS if options.only in (None, reader.name)]
    failed, total, began = 0, 0, time.monotonic()
    for reader in chosen:
        report = fuzz(reader, -(-options.inputs // len(chosen)), options.seed)
        total += report.inputs
        failed += len(report.failures)
        print(
            f"{reader.name}: {report.inputs:,} inputs, {report.refused:,} refused, slowest {report.slowest_s:.3f} s, "
            f"{len(report.failures)} kinds of failure",
            flush=True,
        )
        for raised, content in report.failures.items():
            print(f"  {raised}\n    {content[:400]!r}")
    print(f"{total:,} inputs in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
