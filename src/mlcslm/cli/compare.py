"""`mlcslm compare`: whether one system of a results database is better than another, and where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from mlcslm.cli.configuration import Configuration, Database

_TITLES = {"wer": "WER/CER", "tcpwer": "tcpWER/tcpCER", "der": "DER"}


def register(app: typer.Typer) -> None:
    """Add `compare` to `app`."""
    app.command("compare")(compare)


def compare(
    system_a: Annotated[str, typer.Argument(metavar="SYSTEM_A", help="Baseline system, e.g. ckpt-4000/greedy.")],
    system_b: Annotated[str, typer.Argument(metavar="SYSTEM_B", help="System to compare; or both diarizers.")],
    configfile: Configuration = None,
    database: Database = None,
    split: Annotated[str, typer.Option(help="dev or test.")] = "dev",
    group: Annotated[
        list[str] | None, typer.Option(help="Language or accent; may be repeated. All by default.")
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="How many of the most changed utterances to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two systems session by session, with intervals and p-values: pooled, mean of groups, and by group.

    The error rates' difference is B - A: negative where SYSTEM_B is better. "all" pools the errors of all groups;
    "mean of groups" weights groups equally, as the 2026 challenge's ranking does. Intervals are paired over sessions
    and need at least five; the p-value is from a randomisation test, valid for any number of sessions. The utterances
    whose errors changed most follow.
    """
    from mlcslm.cli.configuration import database_of
    from mlcslm.results.comparison import compare_in_database
    from mlcslm.runtime.progress import waiting

    path = database_of(database, configfile)
    with waiting(f"comparing {system_a} and {system_b}"):
        found = compare_in_database(path, system_a, system_b, split=split, groups=group or (), most=most)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"A: {found['system_a']}\nB: {found['system_b']}\n{found['split']}, protocol {found['protocol']}"
    for measure, rows in found["measures"].items():
        width = max(len(name) for name in (_TITLES[measure], *(row["grp"] for row in rows)))
        yield ""
        yield (
            f"{_TITLES[measure]:{width}}  {'A %':>8}{'B %':>8}{'B - A':>8}  {'95 % interval':20}{'p':>7}  "
            f"{'sessions':>8}{'better':>8}{'worse':>7}"
        )
        for row in rows:
            interval = "-" if row["low"] is None else f"[{row['low']:+.2f}, {row['high']:+.2f}]"
            yield (
                f"{row['grp']:{width}}  {row['rate_a']:8.2f}{row['rate_b']:8.2f}{row['difference']:+8.2f}  "
                f"{interval:20}{row['p_value']:7.4f}  {row['sessions']:8}{row['fewer']:8}{row['more']:7}"
            )
        if any(row["low"] is None for row in rows):
            yield "-: too few sessions for an interval; the p-value is valid regardless"
    if found["changed"]:
        yield "\nErrors of A and of B where they changed most, and reference tokens:"
    for changed in found["changed"]:
        name = changed.get("utterance_id", changed.get("recording"))
        yield f"\n{changed['errors_a']} -> {changed['errors_b']} of {changed['length']}  {name}"
        for label, key in (("reference", "reference"), ("A", "hypothesis_a"), ("B", "hypothesis_b")):
            if key in changed:
                yield f"  {label:10}{'(no hypothesis)' if changed[key] is None else _one_line(changed[key])}"


def _one_line(text: str) -> str:
    """Text with control characters escaped, so that no model output can move the cursor."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
