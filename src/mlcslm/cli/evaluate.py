"""`mlcslm evaluate`: scores hypotheses of external systems and adds them to the workflow's results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mlcslm.cli.configuration import Configuration

_TITLES = {"wer": "WER/CER", "tcpwer": "tcpWER/tcpCER", "der": "DER"}


def register(app: typer.Typer) -> None:
    """Add `evaluate` to `app`."""
    app.command("evaluate")(evaluate)


def evaluate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Kaldi text, STM, CTM, SegLST, NeMo JSON lines, RTTM, or what other tools write; or a folder of them.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the system in the results.")],
    split: Annotated[str, typer.Option(help="dev or test: which references to score against.")] = "dev",
    configfile: Configuration = None,
    results: Annotated[Path | None, typer.Option(help="Results folder, if not the configuration's.")] = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="kaldi, stm, ctm, seglst, nemo, rttm, json, moss, srt, vtt, textgrid, elan, audacity, trn or table; "
            "by default found from names and content.",
        ),
    ] = "auto",
    track: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="1: WER/CER, 2: tcpWER/tcpCER and DER; inferred from ids by default."),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="Protocol to score under besides the configuration's; may be repeated."),
    ] = None,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Skip what has no reference instead of stopping.")
    ] = False,
    method: Annotated[str, typer.Option(help="Label of the method in the results.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score hypotheses of another system as the workflow scores its own.

    They are added to results.duckdb, so that the report and `mlcslm compare` include them. References are those of
    results/manifests/SPLIT.parquet. Ids that it does not have are listed, each with the closest one it has, and nothing
    is written; references without a hypothesis are listed and count as deletions.
    """
    from mlcslm.cli.configuration import DEFAULT, configuration
    from mlcslm.evaluation.request import command_request
    from mlcslm.results.evaluate_external import join_results

    config, layout, request = command_request(
        configuration(configfile),
        " ".join(configfile or [DEFAULT]),
        results,
        name=name,
        split=split,
        files=files,
        file_format=file_format,
        track=track,
        protocols=protocol or (),
        skip_unknown=skip_unknown,
        method=method,
    )
    summary = join_results(config, layout, request)
    typer.echo(json.dumps(summary, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(summary)))


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    yield f"{summary['system']} on {summary['split']}: track {summary['track']}, {', '.join(summary['formats'])}"
    for found in summary["scores"]:
        rows = found["groups"]
        width = max(len("mean of groups"), *(len(row["grp"]) for row in rows))
        yield f"\n{_TITLES[found['measure']]}, protocol {found['protocol']}"
        interval = "" if found["low"] is None else f"  [{found['low']:.2f}, {found['high']:.2f}]"
        yield f"{'pooled':{width}}  {_percent(found['pooled'])}  {_counts(found)}{interval}"
        yield f"{'mean of groups':{width}}  {_percent(found['mean_of_groups'])}"
        yield from (f"{row['grp']:{width}}  {_percent(row['rate'])}  {_counts(row)}" for row in rows)
    others = ", ".join(_rendered(summary["others"])) or "no other system yet"
    yield f"\n{summary['database']}: {summary['system']} added; compare it (mlcslm compare) with: {others}"


def _percent(rate: float | None) -> str:
    return "       -" if rate is None else f"{rate:7.2f}%"


def _counts(row: Mapping[str, Any]) -> str:
    return f"{row['errors']:,.10g} / {row['length']:,.10g}"


def _rendered(names: Sequence[str], most: int = 8) -> list[str]:
    return [*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])]
