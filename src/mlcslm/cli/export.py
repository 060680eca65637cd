"""`mlcslm export`: writes a checkpoint as a model-hub folder that needs only the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLES = """
**Examples**

    mlcslm export results/checkpoints/ckpt-10000 my-model
    mlcslm export results/checkpoints/ckpt-7000 my-model --decoding beam-10-150 --licence apache-2.0
    mlcslm export ckpt-7000 my-model --encoder /models/whisper --language-model /models/lm
"""


def register(app: typer.Typer) -> None:
    """Add `export` to `app`."""
    app.command("export", epilog=EXAMPLES)(export)


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Its folder, results/checkpoints/NAME.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write: new, or an earlier export.")],
    database: Annotated[
        Path | None,
        typer.Option(help="Results for the model card; by default results.duckdb beside the checkpoint's folder."),
    ] = None,
    decoding: Annotated[
        str, typer.Option(help="Default decoding of the model, one of the configuration's.")
    ] = "greedy",
    encoder: Annotated[str | None, typer.Option(help="Its encoder, if it has moved since: hub id or folder.")] = None,
    language_model: Annotated[str | None, typer.Option(help="Its language model, likewise.")] = None,
    languages: Annotated[Path | None, typer.Option(help="Languages table it was trained with.")] = None,
    dtype: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(help="Type of the weights; by default the one used for decoding on this machine."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model in its card; by default DIR's.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights for the card, by its hub identifier: apache-2.0, …")
    ] = None,
    layout: Annotated[
        Literal["hub", "merged"],
        typer.Option(
            "--format",
            help="hub: one model, for this package; merged: a plain language model, its audio side apart.",
        ),
    ] = "hub",
    force: Annotated[
        bool, typer.Option("--force", help="Replace DIR of an earlier run even if files were added to it.")
    ] = False,
) -> None:
    """Write a checkpoint as a model-hub folder: weights, configuration, tokenizer, model card.

    The folder is complete: it contains the foundation models, with adapters merged into their weights. `mlcslm
    transcribe DIR` and transformers load it wherever the package is installed. See docs/export.md. With `--format
    merged`, DIR is a plain causal language model for any engine, with encoder and projector in DIR/audio: see
    docs/serving.md.
    """
    from mlcslm.cli.score import find_languages
    from mlcslm.runtime.progress import waiting

    with waiting(f"exporting {checkpoint}"):
        from mlcslm.export.checkpoint import export_checkpoint

        found = export_checkpoint(
            checkpoint,
            folder,
            languages=languages or find_languages(),
            database=database,
            decoding=decoding,
            encoder=encoder,
            language_model=language_model,
            dtype=dtype,
            name=name,
            licence=licence,
            merged=layout == "merged",
            force=force,
        )
    typer.echo(found)
