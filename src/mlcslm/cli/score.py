"""`mlcslm score`: error rates of files, without the workflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

LANGUAGES = Path("config/languages.tsv")
Languages = Annotated[
    Path | None,
    typer.Option(help="Languages table; by default config/languages.tsv here, or else in mlcslm's own checkout."),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes; by default one per CPU core.")]
TURNS = "RTTM, or STM, SegLST or CTM"
TRANSCRIPTS = "STM, SegLST, CTM or NeMo lines"
GroupOption = Annotated[
    str | None,
    typer.Option("--group", help="Group of all recordings; by default inferred from names, else words."),
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        help="Format of HYP: kaldi, stm, ctm, seglst, nemo, rttm, json, moss, srt, vtt, textgrid, elan, audacity, trn "
        "or table; by default found from name and content.",
    ),
]
TEXTS = "`id text` lines, UTF-8; or NeMo lines, or STM, SegLST or CTM with ids for recordings"

score = typer.Typer(name="score", help="Score hypotheses against references.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add `score` and its commands to `app`."""
    app.add_typer(score)


@score.callback()
def _keep_command_names() -> None:
    """Score hypotheses against references."""
    # Without a callback typer would collapse an app with a single command into that command.


@score.command("wer")
def wer(
    reference: Annotated[Path, typer.Argument(metavar="REF", help=f"References: {TEXTS}.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help=f"Hypotheses: {TEXTS}.")],
    protocol: Annotated[str, typer.Option(help="Scoring protocol: mlcslm-2025 or whisper-norm.")] = "mlcslm-2025",
    languages: Languages = None,
    group: GroupOption = None,
    file_format: FormatOption = "auto",
    normalise_hypothesis: Annotated[
        bool,
        typer.Option("--normalise-hypothesis", help="Normalise hypotheses too; recorded in the result."),
    ] = False,
) -> None:
    """Print the pooled word (or character) error counts of HYP against REF as JSON, overall and by group.

    An utterance's group is inferred from its official id. Missing hypotheses count as deletions. A line on standard
    error says how many errors are due to capitals and punctuation of the hypotheses.
    """
    from mlcslm.formats.detect import named_format
    from mlcslm.runtime.progress import waiting
    from mlcslm.scoring.files import score_kaldi_texts

    languages_table = languages or find_languages()
    with waiting("scoring"):
        scores = score_kaldi_texts(
            reference,
            hypothesis,
            protocol,
            languages_table,
            normalise_hypothesis=normalise_hypothesis,
            group=group,
            file_format=named_format(file_format),
        )
    print_json(scores)


def find_languages() -> Path:
    """The languages table of the working directory, or else of the checkout that this package runs from."""
    from mlcslm.config.checkout import here_or_checkout

    return here_or_checkout(LANGUAGES)


def print_json(value: Any) -> None:
    """Print `value` as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


@score.command("der")
def der(
    reference: Annotated[Path, typer.Argument(metavar="REF", help=f"Reference turns: {TURNS}.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help=f"Turns found: {TURNS}.")],
    languages: Languages = None,
    group: GroupOption = None,
    file_format: FormatOption = "auto",
    collar: Annotated[
        float,
        typer.Option(min=0, max=60, help="Seconds to ignore around reference boundaries, as in md-eval."),
    ] = 0.0,
    skip_overlap: Annotated[
        bool, typer.Option("--skip-overlap", help="Ignore overlapping speech of the reference.")
    ] = False,
    uem: Annotated[
        Path | None, typer.Option(help="Regions to score, one `<recording> <channel> <start> <end>` per line.")
    ] = None,
    jobs: Jobs = None,
) -> None:
    """Print the diarization error rate of HYP against REF as JSON, overall, by group and by session.

    By default without collar, including overlap, from each recording's first reference start to its last end. NOSCORE
    regions of the reference are ignored, channels scored separately. A missing hypothesis is all missed speech.
    """

    from mlcslm.formats.detect import named_format
    from mlcslm.scoring.der import DerOptions
    from mlcslm.scoring.files import score_turn_files
    from mlcslm.scoring.recordings import available_cores

    print_json(
        score_turn_files(
            reference,
            hypothesis,
            languages or find_languages(),
            group=group,
            options=DerOptions(collar, skip_overlap),
            uem=uem,
            file_format=named_format(file_format),
            jobs=jobs or available_cores(),
        )
    )


@score.command("tcpwer")
def tcpwer(
    reference: Annotated[Path, typer.Argument(metavar="REF", help=f"Reference utterances: {TRANSCRIPTS}.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help=f"Hypothesis utterances: {TRANSCRIPTS}.")],
    protocol: Annotated[str, typer.Option(help="Scoring protocol: mlcslm-2025 or whisper-norm.")] = "mlcslm-2025",
    languages: Languages = None,
    group: GroupOption = None,
    file_format: FormatOption = "auto",
    normalise_hypothesis: Annotated[
        bool,
        typer.Option("--normalise-hypothesis", help="Normalise hypotheses too; recorded in the result."),
    ] = False,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Break errors down by cause.")] = False,
    jobs: Jobs = None,
) -> None:
    """Print tcpWER (tcpCER), cpWER and tcORC-WER of HYP against REF as JSON, overall, by group and by session.

    Collar 5 s. Both files hold raw text, which the protocol tokenises. A missing hypothesis counts as deletions.
    Segments that an STM reference marks IGNORE_TIME_SEGMENT_IN_SCORING are ignored on both sides.
    """

    from mlcslm.formats.detect import named_format
    from mlcslm.scoring.files import score_transcript_files
    from mlcslm.scoring.recordings import available_cores

    print_json(
        score_transcript_files(
            reference,
            hypothesis,
            protocol,
            languages or find_languages(),
            normalise_hypothesis=normalise_hypothesis,
            group=group,
            breakdown=breakdown,
            file_format=named_format(file_format),
            jobs=jobs or available_cores(),
        )
    )
