"""`mlcslm score der` and `mlcslm score tcpwer`: error rates of Track 2 files, without the workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Languages = Annotated[
    Path | None,
    typer.Option(help="Languages sheet; by default config/languages.tsv here, or else in mlcslm's own checkout."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; by default one a processor core.")]


def der(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Reference turns: RTTM.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Turns found: RTTM.")],
    languages: Languages = None,
    jobs: Jobs = None,
) -> None:
    """Print the diarization error rate of HYP against REF as JSON, in all, by group and by session.

    Collar 0, overlap scored, from each recording's first reference start to its last end. A missing hypothesis is all
    missed speech.
    """
    from mlcslm.cli.score import find_languages, print_json
    from mlcslm.scoring.diarization_scores import score_rttm_files
    from mlcslm.scoring.recordings import available_cores

    print_json(score_rttm_files(reference, hypothesis, languages or find_languages(), jobs=jobs or available_cores()))


def tcpwer(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Reference utterances: STM, or SegLST (.json).")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Hypothesis utterances: STM, or SegLST (.json).")],
    protocol: Annotated[str, typer.Option(help="Scoring protocol: mlcslm-2025 or whisper-norm.")] = "mlcslm-2025",
    languages: Languages = None,
    normalise_hypothesis: Annotated[
        bool, typer.Option("--normalise-hypothesis", help="Normalise hypotheses as references; named in the result.")
    ] = False,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Say where the errors come from.")] = False,
    jobs: Jobs = None,
) -> None:
    """Print tcpWER (tcpCER), cpWER and tcORC-WER of HYP against REF as JSON, in all, by group and by session.

    Collar 5 s. Both files have raw text; the protocol makes it tokens. A missing hypothesis counts as deletions.
    """
    from mlcslm.cli.score import find_languages, print_json
    from mlcslm.scoring.diarization_scores import score_transcript_files
    from mlcslm.scoring.recordings import available_cores

    print_json(
        score_transcript_files(
            reference,
            hypothesis,
            protocol,
            languages or find_languages(),
            normalise_hypothesis=normalise_hypothesis,
            breakdown=breakdown,
            jobs=jobs or available_cores(),
        )
    )


def add_commands(score: typer.Typer) -> None:
    """Add `der` and `tcpwer` to the `score` commands."""
    score.command("der")(der)
    score.command("tcpwer")(tcpwer)
