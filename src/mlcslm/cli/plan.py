"""`mlcslm plan`: what a configuration needs, before anything is downloaded, trained or decoded."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mlcslm.cli.configuration import Configuration


class Format(StrEnum):
    """Output format of a plan."""

    text = "text"
    markdown = "markdown"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add `plan` to `app`."""
    app.command("plan")(plan)


def plan(
    configfile: Configuration = None,
    gpu: Annotated[str | None, typer.Option(help="GPU to plan for, one of the throughput table.")] = None,
    throughput: Annotated[Path, typer.Option(help="Throughput table: GPUs, their utilisation, and lengths.")] = Path(
        "config/throughput.yaml"
    ),
    encoder: Annotated[
        str | None, typer.Option(help="Folder or hub id to read the encoder's shape from, instead of the config's.")
    ] = None,
    language_model: Annotated[
        str | None, typer.Option(help="Folder or hub id to read the language model's shape from, likewise.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.text,
) -> None:
    """Parameters, memory, operations, jobs and GPU hours of a configuration, without weights, data or a GPU.

    Models are counted and steps run on tensors with a shape but no memory. Hours are estimates: operations and bytes
    over the throughput table's figures for a GPU. Everything is counted; what a run on this machine would leave out for
    lack of an optional model is reported on standard error. Exit status 1 if something does not fit the GPU.
    """
    import gc

    from mlcslm.cli.configuration import configuration
    from mlcslm.runtime.progress import say, waiting
    from mlcslm.workflow.layout import Layout

    config = configuration(configfile)
    with waiting(f"planning {config.preset}"):
        from mlcslm.plan.plan import make_plan
        from mlcslm.plan.report import as_json, as_markdown, as_text

        gc.freeze()  # the imports' million objects, which each search for garbage would go through again
        made = make_plan(config, throughput=throughput, gpu=gpu, encoder=encoder, language_model=language_model)
    typer.echo({Format.text: as_text, Format.markdown: as_markdown, Format.json: as_json}[output](made))
    if notices := Layout(config).notices():
        say("\n".join(notices))
    if not made.all_fit:
        raise typer.Exit(1)
