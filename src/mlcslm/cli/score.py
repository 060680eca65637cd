"""`mlcslm score`: error rates of files, without the workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mlcslm.cli.score_diarization import add_commands

LANGUAGES = Path("config/languages.tsv")

score = typer.Typer(name="score", help="Score hypotheses against references.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add `score` and its commands to `app`."""
    app.add_typer(score)


@score.callback()
def _keep_command_names() -> None:
    """Score hypotheses against references."""
    # Without a callback typer turns an app of one command into that command, and `score wer` into `score`.


@score.command("wer")
def wer(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="References: `id text` lines, UTF-8.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Hypotheses: `id text` lines, UTF-8.")],
    protocol: Annotated[str, typer.Option(help="Scoring protocol: mlcslm-2025 or whisper-norm.")] = "mlcslm-2025",
    languages: Annotated[
        Path | None,
        typer.Option(help=f"Languages sheet; by default {LANGUAGES} here, or else in mlcslm's own checkout."),
    ] = None,
    normalise_hypothesis: Annotated[
        bool, typer.Option("--normalise-hypothesis", help="Normalise hypotheses as references; named in the result.")
    ] = False,
) -> None:
    """Print the pooled word (or character) error counts of HYP against REF as JSON, in all and by group.

    An utterance's group is read off its official id. Missing hypotheses count as deletions.
    """
    from mlcslm.progress import waiting
    from mlcslm.scoring.texts import score_kaldi_texts

    sheet = languages or find_languages()
    with waiting("scoring"):
        scores = score_kaldi_texts(reference, hypothesis, protocol, sheet, normalise_hypothesis=normalise_hypothesis)
    print_json(scores)


def find_languages() -> Path:
    """The languages sheet of the working directory; where it has none, of the checkout that this package runs from."""
    checkout = Path(__file__).resolve().parents[3] / LANGUAGES
    return LANGUAGES if LANGUAGES.is_file() or not checkout.is_file() else checkout


def print_json(value: Any) -> None:
    """Print `value` as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


add_commands(score)
