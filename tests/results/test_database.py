from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from toy_queries import query

from mlcslm.errors import UserError
from mlcslm.results.database import open_database
from mlcslm.scoring.intervals import pooled_interval

pytestmark = pytest.mark.slow

DROP = "'; DROP TABLE utterances; --"
FORMULA = '=HYPERLINK("http://example.org","open")'


@pytest.mark.slow
def test_rates_are_pooled_not_averaged(inputs: Any) -> None:
    # ckpt-7000, dev: French 2 errors / 2 tokens, English 1 / 12, Thai 1 / 6: 4 / 20, where the mean of rates is 41.67.
    rows = query(
        inputs,
        "SELECT grp, errors, length, wer FROM wer_by_group WHERE system = 'ckpt-7000/greedy' AND split = 'dev' "
        "ORDER BY grp",
    )
    assert [row[:3] for row in rows] == [("English-American", 1, 12), ("French", 2, 2), ("Thai", 1, 6)]
    assert [row[3] for row in rows] == pytest.approx([100 / 12, 100.0, 100 / 6])
    ((table6,),) = query(inputs, "SELECT dev FROM table6 WHERE checkpoint = 'ckpt-7000'")
    assert table6 == Decimal("20.00")


def test_table6_by_hand(inputs: Any) -> None:
    rows = query(inputs, "SELECT checkpoint, method, dev, dev_published, test, test_published FROM table6")
    assert rows == [
        ("baseline", "-", Decimal("350.00"), Decimal("21.49"), Decimal("100.00"), Decimal("20.17")),
        ("ckpt-4000", "Special token SFT", Decimal("50.00"), Decimal("18.99"), Decimal("42.86"), Decimal("20.29")),
        ("ckpt-7000", "LoRA SFT", Decimal("20.00"), Decimal("15.48"), Decimal("14.29"), Decimal("13.86")),
    ]


@pytest.mark.slow
def test_rows_without_a_stage_are_left_out_and_kept_as_data(inputs: Any) -> None:
    stages = {name: stage for name, stage in inputs.config["stages"].items() if name != "ckpt-7000"}
    rows = query(inputs, "SELECT checkpoint FROM table6", config={**inputs.config, "stages": stages})
    assert [row[0] for row in rows] == ["baseline", "ckpt-4000"]
    assert query(inputs, "SELECT count(*) FROM published WHERE table_name = 'table6'") == [(12,)]
    # The paper's six rows, without the control of our own that nothing measures.
    assert query(inputs, "SELECT count(*) FROM table_rows WHERE table_name = 'table6'") == [(6,)]


def test_interval_is_that_of_the_sessions_counts(session_inputs: Any) -> None:
    errors, lengths = np.array([1, 4, 1, 1, 1, 2]), np.array([2, 6, 4, 1, 1, 6])
    rows = query(
        session_inputs, "SELECT low, high FROM intervals WHERE system = 'ckpt-4000/greedy' AND split = 'dev'"
    )  # fmt: skip
    ends = pooled_interval(errors, lengths)
    assert rows == [pytest.approx(tuple(100 * end for end in ends))]


def test_interval_is_of_sessions_not_utterances(inputs: Any) -> None:
    """Six utterances of four sessions, and of the test split three: too few."""
    assert query(inputs, "FROM intervals") == []


def test_same_inputs_give_the_same_intervals(session_inputs: Any) -> None:
    found = query(session_inputs, "FROM intervals ORDER BY ALL")
    assert found and found == query(session_inputs, "FROM intervals ORDER BY ALL")


@pytest.mark.slow
def test_hostile_transcripts_are_data(inputs: Any) -> None:
    with open_database(inputs.build()) as connection:
        assert connection.execute("SELECT count(*) FROM utterances").fetchall() == [(10,)]
        for table, column in (("utterances", "text"), ("hypotheses", "transcript"), ("worst_utterances", "hypothesis")):
            found = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
            assert {(DROP,), (FORMULA,)} <= set(found)
        assert FORMULA in connection.execute("SELECT string_agg(raw_text, ' ') FROM hypotheses").fetchall()[0][0]


def test_hostile_ids_are_data(inputs: Any, count_rows_of: Any, manifest_rows_of: Any) -> None:
    rows, counts = manifest_rows_of("test"), count_rows_of("ckpt-7000/greedy", "test")
    rows[0]["utterance_id"] = counts[0]["utterance_id"] = DROP
    rows[0]["session_id"] = counts[0]["session_id"] = FORMULA
    inputs.with_manifest("test", rows).with_counts("ckpt-7000/greedy", "test", counts)
    scores = [path for path in inputs.scores if "ckpt-7000" in str(path) and path.stem == "test"]
    sessions = "SELECT session_id FROM wer_by_session WHERE session_id LIKE '=%'"
    assert query(inputs, sessions, scores=scores, hypotheses=[]) == [(FORMULA,)]


def test_worst_utterances_come_first_and_right_ones_not_at_all(inputs: Any) -> None:
    rows = query(inputs, "SELECT errors, insertions, stop_reason FROM worst_utterances")
    assert rows[0] == (62, 60, "length")
    errors = [row[0] for row in rows]
    assert errors == sorted(errors, reverse=True) and 0 not in errors


@pytest.mark.slow
def test_views_show_the_configs_protocol_only(inputs: Any, count_rows_of: Any) -> None:
    normalised = count_rows_of("ckpt-7000/greedy", "dev", "whisper-norm")
    for row in normalised:
        row.update(errors=0, insertions=0, deletions=0, substitutions=0)
    inputs.with_counts("ckpt-7000/greedy", "dev", count_rows_of("ckpt-7000/greedy", "dev") + normalised)
    rate = "SELECT wer FROM wer_by_system WHERE system = 'ckpt-7000/greedy' AND split = 'dev'"
    assert query(inputs, rate) == [(20.0,)]
    with pytest.raises(UserError, match=r"(?s)whisper-norm.*baseline-2/greedy on dev: found mlcslm-2025"):
        inputs.build(config={**inputs.config, "scoring": {"protocol": "whisper-norm"}})


@pytest.mark.slow
def test_config_and_systems_are_kept(inputs: Any) -> None:
    settings = dict(query(inputs, "FROM settings"))
    assert settings["preset"] == "toy" and settings["protocol"] == "mlcslm-2025" and settings["seed"] == "5"
    assert len(settings["config_fingerprint"]) == len(settings["manifest_fingerprint/dev"]) == 64
    rows = query(inputs, "SELECT system, checkpoint, parent, decoding FROM systems ORDER BY ALL")
    assert rows[1] == ("ckpt-4000/greedy", "ckpt-4000", "ckpt-2000", "greedy")


def change(rows: list[dict[str, Any]], number: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} if index == number else row for index, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda rows: rows[1:], "1 utterances of dev without counts, e.g. English-American-01-O1-000000-000150"),
        (lambda rows: [*rows, {**rows[0], "utterance_id": "French-09"}], "manifest of dev lacks, e.g. French-09"),
        (lambda rows: [*rows, rows[0]], "rows repeat another's utterance_id"),
        (lambda rows: change(rows, 0, errors=9), "not insertions + deletions + substitutions"),
        (lambda rows: change(rows, 0, grp="French"), "another session or group"),
        (lambda rows: change(rows, 0, length=1), "fewer reference tokens than in"),
        (
            lambda rows: [{**row, "system": "ckpt-9/greedy"} for row in rows],
            "config does not decode, e.g. ckpt-9/greedy",
        ),
    ],
)
def test_counts_must_hold_exactly_the_manifest(inputs: Any, count_rows_of: Any, edit: Any, expected: str) -> None:
    inputs.with_counts("ckpt-7000/greedy", "dev", edit(count_rows_of("ckpt-7000/greedy", "dev")))
    with pytest.raises(UserError) as raised:
        inputs.build()
    assert expected in str(raised.value) and "scores/ckpt-7000/greedy/dev.parquet" in str(raised.value)
    assert not inputs.out.exists() and not list(inputs.folder.glob("*.duckdb*"))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda rows: [*rows, {**rows[0], "utterance_id": "French-09"}], "that the manifest lacks, e.g. French-09"),
        (lambda rows: change(rows, 0, stop_reason="eos"), "stop_reason is not end, length or malformed"),
        (lambda rows: change(rows, 0, transcript=None), "1 empty values in column transcript"),
        (lambda rows: [{key: row[key] for key in row if key != "tokens"} for row in rows], "missing tokens"),
    ],
)
def test_faulty_hypotheses(inputs: Any, hypothesis_rows_of: Any, edit: Any, expected: str) -> None:
    inputs.with_hypotheses("ckpt-7000/greedy", "dev", edit(hypothesis_rows_of("ckpt-7000/greedy", "dev")))
    with pytest.raises(UserError) as raised:
        inputs.build()
    assert expected in str(raised.value) and "hypotheses/ckpt-7000/greedy/dev.parquet" in str(raised.value)


@pytest.mark.slow
def test_missing_hypotheses_are_allowed(inputs: Any, hypothesis_rows_of: Any) -> None:
    inputs.with_hypotheses("baseline-2/greedy", "dev", hypothesis_rows_of("baseline-2/greedy", "dev")[2:])
    rows = query(inputs, "SELECT hypothesis FROM worst_utterances WHERE system LIKE 'baseline%' AND errors = 62")
    assert rows == [(None,)]


@pytest.mark.slow
def test_faulty_manifests_and_files(inputs: Any, manifest_rows_of: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.parquet: no such file"):
        inputs.build(scores=[tmp_path / "absent.parquet"])
    text = tmp_path / "text.parquet"
    text.write_text("not Parquet")
    with pytest.raises(UserError, match=r"text.parquet: not a Parquet file"):
        inputs.build(scores=[text])
    inputs.with_manifest("train", [{**row, "grp": "Klingon"} for row in manifest_rows_of("train")])
    with pytest.raises(UserError, match=r"languages table lacks', e.g. Klingon|languages table lacks, e.g. Klingon"):
        inputs.build()


@pytest.mark.slow
def test_failed_build_leaves_the_old_database(inputs: Any, count_rows_of: Any) -> None:
    before = inputs.build().read_bytes()
    inputs.with_counts("ckpt-7000/greedy", "dev", count_rows_of("ckpt-7000/greedy", "dev")[1:])
    with pytest.raises(UserError):
        inputs.build()
    assert inputs.out.read_bytes() == before
    assert [path.name for path in inputs.folder.iterdir() if "duckdb" in path.name] == ["results.duckdb"]


HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "ro")
print("open", flush=True)
input()
"""


def hold(database: Path, mode: str) -> subprocess.Popen[str]:
    """Another process that has `database` open until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "open\n"
    return process


@pytest.mark.slow
def test_a_writer_elsewhere_is_a_user_error(inputs: Any) -> None:
    process = hold(inputs.build(), "rw")
    try:
        with pytest.raises(UserError, match="open for writing"):
            inputs.build()
        with pytest.raises(UserError, match="open for writing"):
            open_database(inputs.out)
    finally:
        process.communicate("\n")


@pytest.mark.slow
def test_readers_elsewhere_do_not_hinder(inputs: Any) -> None:
    process = hold(inputs.build(), "ro")
    try:
        inputs.build()
    finally:
        process.communicate("\n")


@pytest.mark.slow
def test_write_ahead_log_of_a_killed_session_is_not_replayed(inputs: Any) -> None:
    killed = "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute('DELETE FROM asr_counts'); os._exit(1)"
    subprocess.run([sys.executable, "-c", killed, str(inputs.build())], check=False)
    assert inputs.out.with_name("results.duckdb.wal").exists()
    assert query(inputs, "SELECT count(*) FROM asr_counts") == [(27,)]


def test_open_database_reads_only_and_says_what_is_wrong(inputs: Any, tmp_path: Path) -> None:
    with open_database(inputs.build()) as connection, pytest.raises(duckdb.Error, match="read-only"):
        connection.execute("DELETE FROM utterances")
    with pytest.raises(UserError, match="no such file"):
        open_database(tmp_path / "absent.duckdb")
    (tmp_path / "text.duckdb").write_text("not a database" * 500)
    with pytest.raises(UserError, match="cannot be opened"):
        open_database(tmp_path / "text.duckdb")
