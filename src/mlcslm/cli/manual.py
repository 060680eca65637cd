"""What `mlcslm --help` says: what the command is for, its commands by purpose, examples, files and exit status."""

from __future__ import annotations

import typer

ABOUT = """
Train a reasoning speech language model stage by stage, and score it on multilingual conversations.

Snakemake does the work: `snakemake --cores all` makes the tables of a preset, and whatever they need. This command is
for what comes before, beside and after it: to check a corpus, to see how far a run has come, to look at its tables, to
score and compare, and to hand models and corpora on.

Each command has a help page of its own: `mlcslm COMMAND --help`.
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

`config/demo.yaml`, `config/small.yaml`, …: presets; `config/README.md` describes every key. `results/`: all that a run
makes; `results/results.duckdb`: every number it measured; `results/logs/`: what each job said.

**Environment**

`CUDA_VISIBLE_DEVICES`: GPUs to use. `OMP_NUM_THREADS`: processor threads of one process. `HF_HOME`, `HF_HUB_OFFLINE`:
where hub models lie, and whether the network may be asked for them. `NO_COLOR`, `COLUMNS`: of what is printed.

**Exit status**

- 0: done
- 1: something that was given, or this machine, is at fault: a message on standard error names it, says what was
  expected and what to do; no file is left half-written
- 2: the command line was not understood
- 70: mlcslm itself is at fault: a traceback on standard error, to be reported
- 130: interrupted (Ctrl-C)

Results go to standard output, messages and progress bars to standard error.
"""

_PANELS = {
    "Corpora": ("manifest", "convert"),
    "Runs": ("plan", "status"),
    "Results": ("show", "compare", "report"),
    "Scoring": ("score", "evaluate"),
    "Models": ("export", "transcribe", "diarize"),
}


def arrange(app: typer.Typer) -> None:
    """Put the commands of `app` under headings, in the order in which a run needs them; unknown ones come last."""
    headings = {name: heading for heading, names in _PANELS.items() for name in names}
    order = {name: place for place, name in enumerate(headings)}
    for found in (app.registered_commands, app.registered_groups):
        for command in found:
            command.rich_help_panel = headings.get(_name(command), "Others")
        found.sort(key=lambda command: order.get(_name(command), len(order)))


def _name(command: typer.models.CommandInfo | typer.models.TyperInfo) -> str:
    """Its name; that of a group of commands is the group's own."""
    if isinstance(command.name, str):
        return command.name
    group = getattr(command, "typer_instance", None)
    return str(group.info.name) if group is not None else ""
