"""Text of `mlcslm --help`: purpose, commands by purpose, examples, files and exit status."""

from __future__ import annotations

import typer

ABOUT = """
Train a reasoning speech language model stage by stage, and score it on multilingual conversations.

Snakemake does the work: `snakemake --cores all` builds the tables of a preset and everything they need. This command
is for the rest: checking a corpus, following a run, reading its tables, scoring and comparing systems, and exporting
models and corpora.

Each command has its own help page: `mlcslm COMMAND --help`.
"""

EPILOG = """
**Examples**

    mlcslm manifest data/dev --out dev.parquet
    mlcslm status --configfile config/small.yaml
    mlcslm show table6
    mlcslm compare ckpt-7000/greedy ckpt-10000/greedy
    mlcslm export results/checkpoints/ckpt-10000 my-model
    mlcslm transcribe my-model call.wav --group French

**Files**

`config/demo.yaml`, `config/small.yaml`, …: presets; `config/README.md` describes every key. `results/`: output of a
run; `results/results.duckdb`: every number it measured; `results/logs/`: the log of each job.

**Environment**

`CUDA_VISIBLE_DEVICES`: GPUs to use. `OMP_NUM_THREADS`: CPU threads per process. `HF_HOME`, `HF_HUB_OFFLINE`: where hub
models are stored, and whether to use the network for them. `NO_COLOR`, `COLUMNS`: colours and width of the output.

**Exit status**

- 0: success
- 1: an input, or this machine, is at fault: a message on standard error names it, says what was expected and what to
  do; no file is left incomplete
- 2: the command line was not understood
- 70: a bug in mlcslm: a traceback on standard error, please report it
- 130: interrupted (Ctrl-C)

Results go to standard output, messages and progress bars to standard error.
"""

_PANELS = {
    "Corpora": ("manifest", "convert"),
    "Runs": ("plan", "status"),
    "Results": ("show", "compare", "alignments", "report"),
    "Scoring": ("score", "evaluate"),
    "Models": ("export", "transcribe", "diarize"),
}


def arrange(app: typer.Typer) -> None:
    """Put the commands of `app` under headings, in the order in which a run needs them; others come last."""
    headings = {name: heading for heading, names in _PANELS.items() for name in names}
    order = {name: position for position, name in enumerate(headings)}
    for found in (app.registered_commands, app.registered_groups):
        for command in found:
            command.rich_help_panel = headings.get(_name(command), "Others")
        found.sort(key=lambda command: order.get(_name(command), len(order)))


def _name(command: typer.models.CommandInfo | typer.models.TyperInfo) -> str:
    """Name of a command, or of a group of commands."""
    if isinstance(command.name, str):
        return command.name
    group = getattr(command, "typer_instance", None)
    return str(group.info.name) if group is not None else ""
