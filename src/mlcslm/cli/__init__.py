"""The `mlcslm` command. Each subcommand's module is imported only when it runs, so that `--help` is instant."""

from __future__ import annotations

import sys

import typer

from mlcslm.errors import UserError

app = typer.Typer(
    name="mlcslm",
    help="Train a reasoning speech language model stage by stage and score it on multilingual conversations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a UserError is printed to standard error without a traceback, exit status 1."""
    from mlcslm.cli import compare, corpus, export, score, transcribe

    compare.register(app)
    corpus.register(app)
    export.register(app)
    score.register(app)
    transcribe.register(app)
    try:
        app()
    except UserError as error:
        print(f"mlcslm: {error}", file=sys.stderr)
        sys.exit(1)
