"""External systems in the results: in the database, compared, averaged, and kept separate from ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mlcslm.cli import evaluate as command
from mlcslm.config.languages import read_languages
from mlcslm.errors import FaultyInput, UserError
from mlcslm.evaluation.evaluate import evaluate
from mlcslm.evaluation.request import configured_request
from mlcslm.results.averages import write_averages
from mlcslm.results.comparison import compare_in_database
from mlcslm.results.database import collect_database, open_database
from mlcslm.results.evaluate_external import join_results

pytestmark = pytest.mark.slow

TEXTS = {
    "English-American-0517_007-O1-000000-000028": "hello world",
    "English-American-0517_007-O2-000028-000400": "i'm here — at last",
    "English-American-0517_007-O1-000400-000650": "so am i",
    "French-0001_001-O1-000050-000200": "ça va rien",
    "Thai-0001_002-O2-000100-000200": "ไม ok ok",
}
STM = "American_0517_007 1 a 0.29 4 i'm here — at last\nFrench_0001_001 1 b 0.5 2 ça va rien\n"


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    command.register(app)

    @app.command("other")
    def other() -> None:
        """A second command, so that the first keeps its name."""

    return app


def run(app: typer.Typer, workspace: Any, *arguments: str | Path) -> str:
    given = ["evaluate", "--configfile", str(workspace.configfile), *map(str, arguments)]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_two_systems_join_are_compared_and_averaged(app: typer.Typer, workspace: Any) -> None:
    good = workspace.write("good", "".join(f"{name} {text}\n" for name, text in TEXTS.items()))
    bad = workspace.write("bad", "".join(f"{name} {text}\n" for name, text in list(TEXTS.items())[:-1]))
    printed = run(app, workspace, "--name", "good", "--method", "theirs", good)
    # English 0 of 10, French 1 of 3, Thai 1 of 4 (a word where a character should be).
    assert "pooled              11.76%  2 / 17" in printed
    assert "mean of groups      19.44%" in printed
    found = json.loads(run(app, workspace, "--name", "bad", "--json", bad))
    assert found["others"] == ["good"]
    assert [(row["grp"], row["errors"]) for row in found["scores"][0]["groups"]] == [
        ("English-American", 0),
        ("French", 1),
        ("Thai", 4),
    ]
    database = Path(found["database"])
    compared = compare_in_database(database, "good", "bad", split="dev")
    assert compared["changed"][0]["hypothesis_a"] == "ไม ok ok" and compared["changed"][0]["hypothesis_b"] is None
    assert [row["grp"] for row in compared["measures"]["wer"]] == [
        *("all", "mean of groups", "English-American", "French", "Thai")
    ]
    with open_database(database) as connection:
        systems = connection.execute("SELECT system, checkpoint, method, source FROM systems ORDER BY 1").fetchall()
        assert systems == [("bad", None, None, str(bad)), ("good", None, "theirs", str(good))]
        assert connection.execute("SELECT count(*), count(tokens) FROM hypotheses").fetchall() == [(9, 0)]
        assert connection.execute("SELECT * FROM answers_by_system").fetchall() == []


def test_turns_and_transcripts_join_too(app: typer.Typer, workspace: Any) -> None:
    run(app, workspace, "--name", "both", workspace.write("a.stm", STM))
    rttm = workspace.write("a.rttm", "SPEAKER French_0001_001 1 0.5 1 <NA> <NA> b <NA> <NA>\n")
    printed = run(app, workspace, "--name", "turns", rttm)
    assert "DER, protocol mlcslm-2025" in printed and "tcpWER" not in printed
    database = collect_database(workspace.config, workspace.layout)
    with open_database(database) as connection:
        rates = "SELECT system, round(pooled, 2), round(mean_of_groups, 2), groups FROM averages WHERE measure <> 'der'"
        # 5 of 10, 1 of 3 and 4 of 4 errors.
        assert connection.execute(rates).fetchall() == [("both", round(1000 / 17, 2), round(550 / 9, 2), 3)]
        assert connection.execute("SELECT transcript FROM diarized_segments").fetchall()[1] == ("ça va rien",)
        broken_down = "SELECT tcpwer, oracle_wer FROM tcpwer_breakdown WHERE grp = 'all' ORDER BY system"
        assert connection.execute(broken_down).fetchall() == [(pytest.approx(1000 / 17), None), (None, None)]
    write_averages(database, "tcpwer", workspace.root / "a.csv", workspace.root / "a.md")
    header, row = (workspace.root / "a.csv").read_text().splitlines()
    ends = ("pooled_low", "pooled_high", "mean_of_groups_low", "mean_of_groups_high")
    found = dict(zip(header.split(","), row.split(","), strict=True))
    # Three sessions, one a group, are too few for any interval.
    assert [found.pop(name) for name in ends] == [""] * 4
    assert list(found.items()) == [
        *(("split", "dev"), ("system", "both"), ("groups", "3"), ("pooled", "58.82"), ("mean_of_groups", "61.11")),
        *(("English-American", "50.00"), ("French", "33.33"), ("Thai", "100.00")),
    ]
    assert "| dev | both | 3 | 58.82 | 61.11 |" in (workspace.root / "a.md").read_text()


def test_what_is_impossible_leaves_nothing_behind(
    app: typer.Typer, workspace: Any, workspaces: Any, tmp_path: Path
) -> None:
    text = workspace.write("text", f"{next(iter(TEXTS))} hello\n")

    def refused(*arguments: str | Path) -> str:
        with pytest.raises(UserError) as caught:
            run(app, workspace, *arguments)
        return str(caught.value)

    assert "systems.a/b.[key]" in refused("--name", "a/b", text)
    assert "ckpt-2000: a diarizer, stage or recogniser already has that name" in refused("--name", "ckpt-2000", text)
    assert "systems.x.files.train" in refused("--name", "x", "--split", "train", text)
    assert "systems.x.protocols.0" in refused("--name", "x", "--protocol", "best", text)
    assert "test.parquet: no such manifest" in refused("--name", "x", "--split", "test", text)
    assert not (workspace.layout.root / "systems").exists()
    run(app, workspace, "--name", "x", text)
    assert "the name x is in use by another system, or on the other track" in _other_track(workspace, app)


def _other_track(workspace: Any, app: typer.Typer) -> str:
    """The message on a system of Track 1 on dev whose test set is given as Track 2's."""
    manifest = workspace.layout.manifest("dev")
    workspace.layout.manifest("test").write_bytes(manifest.read_bytes())
    with pytest.raises(UserError) as caught:
        run(app, workspace, "--name", "x", "--split", "test", workspace.write("a.stm", STM))
    assert not workspace.layout.external("x", "test").exists() and workspace.layout.external("x", "dev").exists()
    return str(caught.value)


def test_systems_scored_against_another_manifest_are_refused(
    app: typer.Typer, workspace: Any, workspaces: Any, rows_of: Any
) -> None:
    run(app, workspace, "--name", "x", workspace.write("text", f"{next(iter(TEXTS))} hello\n"))
    workspaces(workspace.root, rows_of()[:3])
    with pytest.raises(FaultyInput, match=r"systems/x/dev: scored against a different manifest"):
        collect_database(workspace.config, workspace.layout)


def test_systems_of_the_configuration_are_its_own_and_go_with_their_entry(
    app: typer.Typer, workspace: Any, workspaces: Any, rows_of: Any
) -> None:
    text = workspace.write("text", "".join(f"{name} {text}\n" for name, text in TEXTS.items()))
    named = workspaces(workspace.root, rows_of(), systems={"theirs": {"files": {"dev": str(text)}, "method": "LSTM"}})
    layout = named.layout
    assert layout.table_inputs("table1")["external"] == [str(layout.root / "systems/theirs/dev/system.json")]
    evaluate(configured_request(named.config, layout, "theirs", "dev", jobs=1), layout.external("theirs", "dev"))
    with pytest.raises(UserError, match=r"systems\.theirs already exists"):
        run(app, named, "--name", "theirs", text)
    for expected in ([("theirs", "LSTM")], []):
        with open_database(collect_database(named.config, named.layout)) as connection:
            assert connection.execute("SELECT system, method FROM systems").fetchall() == expected
        named = workspaces(workspace.root, rows_of())


def test_rates_of_21_groups_are_pooled_and_averaged(workspaces: Any, rows_of: Any, tmp_path: Path) -> None:
    """Group i, from 0, has i + 1 tokens, the first of which is wrong."""
    languages_table = Path(__file__).parents[2] / "config" / "languages2026.tsv"
    groups = list(read_languages(languages_table).values())
    spoken = [(g.group, "1", "O1", 0.0, 4.0, " ".join(["ก", *"ค" * number])) for number, g in enumerate(groups)]
    rows = [
        row | {"session_id": f"{group.recording_prefix}_1"} for row, group in zip(rows_of(spoken), groups, strict=True)
    ]
    workspace = workspaces(tmp_path, rows, languages=str(languages_table))
    said = "".join(f"{row['session_id']} 1 x 0 4 {row['text'].replace('ก', 'ข')}\n" for row in rows)
    request = workspace.request(workspace.write("a.stm", said), languages=languages_table)
    found = join_results(workspace.config, workspace.layout, request)["scores"]
    assert {score["measure"]: (len(score["groups"]), score["errors"], score["length"]) for score in found} == {
        "tcpwer": (21, 21, 231),
        "der": (21, 0, 84),
    }
    with open_database(workspace.layout.root / "results.duckdb") as connection:
        averages = "SELECT groups, pooled, mean_of_groups FROM averages WHERE measure = 'tcpwer'"
        mean = 100 * sum(1 / n for n in range(1, 22)) / 21
        assert connection.execute(averages).fetchall() == [(21, pytest.approx(100 / 11), pytest.approx(mean))]


def test_what_a_file_says_does_not_steer_the_terminal(workspace: Any) -> None:
    text = workspace.write("text", "\x1b[2Jid hello\n")
    with pytest.raises(FaultyInput) as caught:
        evaluate(workspace.request(text), workspace.layout.external("theirs", "dev"))
    assert "'\\x1b[2Jid': not among the references" in str(caught.value) and "\x1b" not in str(caught.value)
