"""`mlcslm status`: progress of a run."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcslm.cli.configuration import Configuration

if TYPE_CHECKING:
    from mlcslm.status.run import Part

_SIGNS = {"done": "✓", "running": "▶", "stopped": "■", "to do": "·", "outdated": "≠"}
_COLOURS = {"done": "green", "running": "blue", "stopped": "yellow", "to do": None, "outdated": "magenta"}

EXAMPLES = """
**Examples**

    mlcslm status
    mlcslm status --configfile config/small.yaml mine.yaml --watch 10
    mlcslm status --json | jq '.[] | select(.state == "running")'
"""


def register(app: typer.Typer) -> None:
    """Add `status` to `app`."""
    app.command("status", epilog=EXAMPLES)(status)


def status(
    configfile: Configuration = None,
    results: Annotated[Path | None, typer.Option(help="Results folder, if not the configuration's.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List finished parts too.")] = False,
    watch: Annotated[float | None, typer.Option(min=0.5, metavar="SECONDS", help="Refresh at this interval.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of all parts.")] = False,
) -> None:
    """Show the progress of a run: what is done, running (with step and time left) or still to do.

    Reads only the results folder: it does not call Snakemake, and writes nothing. States: done; running; stopped
    (started, but no process is working on it: the next run resumes it); to do; outdated (trained with other settings
    than the configuration has now: the next run rebuilds it).
    """
    from mlcslm.cli.configuration import configuration
    from mlcslm.runtime.progress import say
    from mlcslm.status.run import read_status
    from mlcslm.workflow.layout import Layout

    config = configuration(configfile)
    layout = Layout(config if results is None else config.model_copy(update={"results": str(results)}))
    if notices := layout.notices():
        say("\n".join(notices))
    while True:
        parts = read_status(layout)
        if as_json:
            typer.echo(json.dumps([part.as_dict() for part in parts], indent=2))
        else:
            typer.echo(f"{layout.preset}: {layout.root}\n")
            typer.echo("\n".join(_lines(parts, every)))
        if watch is None:
            return
        time.sleep(watch)
        typer.echo()


def _lines(parts: Sequence[Part], every: bool) -> Iterable[str]:
    """A line per section, followed by one for each part that has started but is not done, or for all parts."""
    for section in dict.fromkeys(part.section for part in parts):
        own = [part for part in parts if part.section == section]
        rendered = [part for part in own if every or part.trace.state not in ("done", "to do")]
        width = max((len(part.name) for part in rendered), default=0)
        counts = Counter(part.trace.state for part in own)
        waiting = f", {counts['to do']} to do" if counts["to do"] else ""
        yield f"{section:<12} {counts['done']} of {len(own)} done{waiting}"
        for part in rendered:
            state = part.trace.state
            yield f"  {typer.style(_SIGNS[state], fg=_COLOURS[state])} {part.name:<{width}}  {_progress(part)}"


def _progress(part: Part) -> str:
    trace = part.trace
    words: list[str] = [trace.state]
    if trace.total:
        words.append(f"{trace.done:,} of {trace.total:,} {part.unit}".rstrip())
    if trace.seconds_left is not None:
        words.append(f"{describe_seconds(trace.seconds_left)} left")
    return ", ".join(words)


def describe_seconds(seconds: float) -> str:
    """A duration in its two largest units.

    >>> describe_seconds(42), describe_seconds(3723), describe_seconds(100_000)
    ('42 s', '1 h 2 min', '1 d 3 h')
    """
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (smaller, part) in itertools.pairwise(units):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {smaller}"
    return f"{whole} s"
