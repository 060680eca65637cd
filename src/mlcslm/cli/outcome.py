"""What a finished run shows: the tables that were asked for, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlcslm.workflow.layout import Layout

WIDTH = 80
"""Columns of a terminal, at least."""
_MOST_TABLES = 2
"""More than these are listed, not printed."""


def requested_name(layout: Layout, targets: Sequence[str]) -> str:
    """What a run makes: `Table 6 of preset demo`, or `This run` of several tables or something else."""
    tables = _asked_for(layout, targets)
    if len(tables) == 1 and tables[0] in layout.tables:
        return f"{layout.tables[tables[0]].title.partition(':')[0]} of preset {layout.preset}"
    return f"This run of preset {layout.preset}"


def _asked_for(layout: Layout, targets: Sequence[str]) -> list[str]:
    """The tables among the targets: all of them for none, `all` or the report."""
    folder = layout.table("table6").parent
    whole = ("all", str(layout.report()))
    if not targets or any(target in whole or Path(target).parent == folder for target in targets):
        return layout.requested_tables(targets)
    return []


def show_outcome(layout: Layout, targets: Sequence[str]) -> None:
    """Print the requested tables as `mlcslm show` does, if they are few, and the next commands."""
    from mlcslm.cli.text_table import print_grid
    from mlcslm.errors import UserError
    from mlcslm.results.tables import render_table

    tables = [name for name in _asked_for(layout, targets) if layout.table(name).is_file()]
    if not tables:
        return
    shown = tables if len(tables) <= _MOST_TABLES else [name for name in tables if name == "table6"]
    for name in shown:
        try:
            rendered = render_table(layout.database(), name, published=None)
        except UserError:
            continue  # the table itself is there; `mlcslm show` will say what is the matter
        print_grid(rendered.title, rendered.columns, rendered.rows, rendered.numeric, width=WIDTH)
    print("\n".join(["Next:", *_next(layout, tables)]), flush=True)


def _next(layout: Layout, tables: Sequence[str]) -> list[str]:
    database = "" if layout.root.name == "results" else f" --database {layout.database()}"
    steps = [
        (f"mlcslm show {tables[0]}{database}", "this table again; without a name: the list"),
        (f"mlcslm show groups{database}", "by language and accent"),
    ]
    if not layout.report().is_file():
        steps.append((f"snakemake --cores all {layout.report()}", "the report, to open in a browser"))
    else:
        steps.append((str(layout.report()), "the report: open it in a browser"))
    missing = [name for name in layout.measured_tables() if not layout.table(name).is_file()]
    if missing and layout.root.name == "results":
        steps.append(("make tables", f"the other {len(missing)} tables and the report"))
    width = min(44, max(len(command) for command, _ in steps))
    return [f"  {command:{width}}  {purpose}" for command, purpose in steps]
