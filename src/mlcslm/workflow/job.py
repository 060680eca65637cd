"""Context in which a rule's script runs its one function."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from mlcslm.config.reading import parse_config
from mlcslm.config.schema import Config
from mlcslm.errors import UserError
from mlcslm.runtime.interruption import exits_on_request
from mlcslm.runtime.job_log import ONLY_TO_LOG, logged
from mlcslm.runtime.machine_faults import machine_fault
from mlcslm.runtime.progress import say
from mlcslm.workflow.layout import Layout


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[tuple[Config, Layout]]:
    """Run a rule's script: read the configuration, limit its threads, copy its output to its log file.

    A UserError ends the job with its message and no traceback; SIGTERM as `mlcslm.runtime.interruption` says.
    """
    os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with logged(snakemake.log[0]) as log:
        try:
            config = parse_config(without_workflow_keys(snakemake.config))
            with exits_on_request():
                yield config, Layout(config)
        except UserError as error:
            say(error)
            sys.exit(1)
        except Exception as error:
            traceback.print_exc(file=log)  # Python itself prints it to the terminal
            if message := machine_fault(error):
                say(message)
                sys.exit(1)
            if os.environ.get(ONLY_TO_LOG):
                say(f"{type(error).__name__}: {error}\n  The traceback is in the log; please report it.")
                sys.exit(1)
            raise


def without_workflow_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as a plain dictionary (Snakemake passes ordered ones)."""
    return {key: without_workflow_keys(value) if isinstance(value, Mapping) else value for key, value in config.items()}
