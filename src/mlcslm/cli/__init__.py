"""The `mlcslm` command. Each subcommand's module is imported only when it runs, so that `--help` is instant."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mlcslm.cli.manual import ABOUT, EPILOG, arrange
from mlcslm.errors import UserError

OWN_FAULT = 70
"""Exit status for bugs in mlcslm itself (EX_SOFTWARE of sysexits.h)."""

app = typer.Typer(
    name="mlcslm",
    help=ABOUT,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """Run the command line and exit with a status documented in docs/cli.md.

    A UserError, or a fault of the machine such as a full disk, is printed to standard error without a traceback.
    """
    from mlcslm.cli import (
        alignments,
        compare,
        convert,
        corpus,
        diarize,
        evaluate,
        export,
        plan,
        report,
        score,
        show,
        status,
        transcribe,
    )
    from mlcslm.cli.configuration import spread

    commands = (
        alignments,
        compare,
        convert,
        corpus,
        diarize,
        evaluate,
        export,
        plan,
        report,
        score,
        show,
        status,
        transcribe,
    )
    for module in commands:
        module.register(app)
    arrange(app)
    try:
        sys.argv[1:] = spread(list(map(_expand, sys.argv[1:])))
        app()
    except UserError as error:
        _say(error)
        sys.exit(1)
    except Exception as error:
        sys.exit(_report_unexpected(error))


def _expand(argument: str) -> str:
    """An argument with `~` expanded to the home folder, also after `--option=`, where no shell does so."""
    from mlcslm.io.places import expand_tildes

    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + expand_tildes(value)


def _report_unexpected(error: Exception) -> int:
    """Report an unexpected exception; return the exit status."""
    from mlcslm.runtime.machine_faults import machine_fault

    fault = machine_fault(error)
    if fault is not None:
        _say(fault)
        return 1
    import traceback

    traceback.print_exception(error)
    print("mlcslm: this is a bug in mlcslm; please report it with the lines above.", file=sys.stderr)
    return OWN_FAULT


def _print_version(requested: bool) -> None:
    if requested:
        import mlcslm

        typer.echo(f"mlcslm {mlcslm.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _say(message: object) -> None:
    from mlcslm.runtime.progress import say

    say(message)
