"""The Python that has vLLM: an environment of its own, since its dependencies exclude ours. No torch.

As a script, `python -m mlcslm.decoding.engine_environment PYTHON FILE` checks it and describes it in a file.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from mlcslm.errors import UserError
from mlcslm.io.files import read_json, write_json

WORKER = Path(__file__).with_name("vllm_worker.py")
"""The program to run there; it needs nothing of this package."""
_HELP = (
    "Name a Python that has vLLM as engines.vllm.python, or run with --software-deployment-method conda "
    "(docs/serving.md)."
)


@dataclass(frozen=True)
class EngineInfo:
    """python: the program that runs vLLM; version: of vLLM, after its package's name, as hypotheses record it."""

    python: str
    version: str

    @property
    def command(self) -> list[str]:
        """The worker as a command; without its own folder among those that modules are imported from."""
        return [self.python, "-P", str(WORKER)]


def find_engine(python: str) -> EngineInfo:
    """The vLLM of the program `python`. Raises UserError, in one line, if there is none."""
    found = EngineInfo(python, "")
    try:
        done = subprocess.run(
            [*found.command, "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise UserError(f"engine vllm: cannot run {python!r} ({error.strerror}). {_HELP}") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise UserError(f"engine vllm: {python} fails ({reason}); expected Python 3.11 or later. {_HELP}")
    if not (version := done.stdout.strip()):
        raise UserError(f"engine vllm: {python} has no vLLM. {_HELP}")
    return EngineInfo(python, version)


def read_engine(path: Path) -> EngineInfo:
    """The engine described in a file that the workflow has written."""
    return EngineInfo(**read_json(path, "Delete it and run again."))


def main() -> None:
    """Check the Python that the first argument names, and describe it in the file that the second one names."""
    python, out = sys.argv[1:]
    try:
        write_json(out, asdict(find_engine(python)))
    except UserError as error:
        print(f"mlcslm: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
