"""Comparisons of the toy corpus's systems, in the database and on the command line."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from toy_queries import query

from mlcslm.cli import main
from mlcslm.errors import UserError
from mlcslm.results.comparison import compare_in_database
from mlcslm.results.database import open_database
from mlcslm.scoring.compare import compare_systems

pytestmark = pytest.mark.slow

A, B = "ckpt-4000/greedy", "ckpt-7000/greedy"


def test_every_pair_once_in_the_configs_order(inputs: Any) -> None:
    pairs = query(inputs, "SELECT DISTINCT split, system_a, system_b FROM comparisons ORDER BY ALL")
    order = ["baseline-2/greedy", A, B]
    assert pairs == [(split, a, b) for split in ("dev", "test") for i, a in enumerate(order) for b in order[i + 1 :]]
    assert query(inputs, "SELECT count(*) FROM comparisons") == [(2 * 3 * 5,)]


def test_by_hand(inputs: Any) -> None:
    # By session, errors of 8, 4, 2 and 6 tokens: 5, 1, 2, 2 with ckpt-4000; 1, 0, 2, 1 with ckpt-7000.
    rows = query(
        inputs,
        "SELECT grp, sessions, rate_a, rate_b, difference, fewer, more, p_value FROM comparisons "
        f"WHERE split = 'dev' AND system_a = '{A}' AND system_b = '{B}' ORDER BY grp",
    )
    assert [row[:2] + tuple(round(rate, 2) for rate in row[2:5]) + row[5:7] for row in rows] == [
        ("English-American", 2, 50.0, 8.33, -41.67, 2, 0),
        ("French", 1, 100.0, 100.0, 0.0, 0, 0),
        ("Thai", 1, 33.33, 16.67, -16.67, 1, 0),
        ("all", 4, 50.0, 20.0, -30.0, 3, 0),
        ("mean of groups", 4, 61.11, 41.67, -19.44, 3, 0),
    ]
    # Changes of -4, -1, 0 and -1: of the 16 ways to exchange, two leave both signs of 6 and the 0 doubles them.
    # Of the means, changes of -4/12, -1/12, 0 and -1/6: the same ways.
    assert [row[7] for row in rows] == [0.5, 1.0, 1.0, 0.25, 0.25]
    # Four sessions are too few for an interval.
    assert query(inputs, "SELECT count(low), count(high) FROM comparisons") == [(0, 0)]


def test_six_sessions_have_the_interval_of_their_counts(session_inputs: Any) -> None:
    ((low, high, sessions),) = query(
        session_inputs,
        "SELECT low, high, sessions FROM comparisons "
        f"WHERE split = 'dev' AND grp = 'all' AND system_a = '{A}' AND system_b = '{B}'",
    )
    errors = np.array([[1, 4, 1, 1, 1, 2], [0, 1, 0, 1, 1, 1]])
    (expected,) = compare_systems(errors, np.array([2, 6, 4, 1, 1, 6]), seed=5)
    assert (low, high, sessions) == (pytest.approx(100 * expected.low), pytest.approx(100 * expected.high), 6)
    assert low < -30 < high


def counts(inputs: Any, split: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(inputs.folder / f"scores/{B}/{split}.parquet").to_pylist()


def test_groups_without_reference_tokens_are_not_compared(inputs: Any) -> None:
    for system in ("baseline-2/greedy", A, B):
        rows = counts(inputs, "test")
        for row in rows:
            row["system"] = system
            if row["grp"] == "Thai":
                row |= {"length": 0, "errors": 0, "insertions": 0, "deletions": 0, "substitutions": 0}
        inputs.with_counts(system, "test", rows)
    groups = "SELECT DISTINCT grp FROM comparisons WHERE split = 'test' ORDER BY grp"
    assert query(inputs, groups) == [("English-American",), ("French",), ("all",), ("mean of groups",)]


def test_changed_utterances_come_most_changed_first(inputs: Any) -> None:
    rows = query(
        inputs,
        "SELECT errors_a, errors_b, change, length, reference, hypothesis_b FROM changed_utterances "
        f"WHERE system_a = '{A}' AND system_b = '{B}' AND split = 'dev'",
    )
    assert [row[:4] for row in rows] == [(4, 1, -3, 6), (1, 0, -1, 2), (1, 0, -1, 4), (2, 1, -1, 6)]
    assert rows[0][4:] == ("how are you today my friend",) * 2
    turned = f"SELECT sum(change) FROM changed_utterances WHERE system_a = '{B}' AND system_b = '{A}' AND split = 'dev'"
    assert query(inputs, turned) == [(6,)]


def test_the_command_agrees_with_the_table(inputs: Any, capsys: Any, monkeypatch: Any) -> None:
    database = inputs.build()
    found = json.loads(run(monkeypatch, capsys, A, B, "--database", database, "--json"))
    assert (found["system_a"], found["split"], found["protocol"]) == (A, "dev", "mlcslm-2025")
    rows = {row["grp"]: row for row in found["measures"]["wer"]}
    with open_database(database) as connection:
        for row in connection.execute(
            f"SELECT grp, difference, low, high, p_value FROM comparisons "
            f"WHERE split = 'dev' AND system_a = '{A}' AND system_b = '{B}'"
        ).fetchall():
            assert tuple(rows[row[0]][name] for name in ("difference", "low", "high", "p_value")) == row[1:]
    assert [changed["change"] for changed in found["changed"]] == [-3, -1, -1, -1]
    back = json.loads(run(monkeypatch, capsys, B, A, "--database", database, "--json"))
    assert back["measures"]["wer"][0]["difference"] == -rows["all"]["difference"]


def test_the_command_prints_to_read(inputs: Any, capsys: Any, monkeypatch: Any) -> None:
    text = run(
        monkeypatch, capsys, A, B, "--database", inputs.build(), "--group", "French", "--group", "Thai", "--most", "1"
    )
    lines = text.splitlines()
    assert lines[:3] == [f"A: {A}", f"B: {B}", "dev, protocol mlcslm-2025"]
    # 4 and 3 errors of 8 tokens in the requested groups.
    assert lines[5].split()[:4] == ["all", "50.00", "37.50", "-12.50"]
    assert [line[:14].strip() for line in lines[5:9]] == ["all", "mean of groups", "French", "Thai"]
    # 100 and 33.33, 100 and 16.67; two sessions.
    assert lines[6][14:].split() == ["66.67", "58.33", "-8.33", "-", "1.0000", "2", "1", "0"]
    assert lines[9].startswith("-: too few sessions for an interval")
    assert sum(" of " in line and "->" in line for line in lines) == 1


def test_control_characters_of_a_model_stay_in_their_line(
    inputs: Any, hypothesis_rows_of: Any, capsys: Any, monkeypatch: Any
) -> None:
    rows = hypothesis_rows_of(B, "dev")
    rows[1]["transcript"] = "how\x1b[2Jare\nyou"
    inputs.with_hypotheses(B, "dev", rows)
    text = run(monkeypatch, capsys, A, B, "--database", inputs.build())
    assert r"how\x1b[2Jare\nyou" in text and "\x1b" not in text


@pytest.mark.parametrize(
    ("systems", "options", "expected"),
    [
        (
            (A, "ckpt-8/greedy"),
            {},
            "no scores of ckpt-8/greedy on dev; expected one of: baseline-2/greedy, ",
        ),
        ((A, A), {}, "cannot be compared with itself"),
        ((A, "campplus-8"), {}, "cannot compare a system with a diarizer"),
        (("campplus-8-merged", "campplus-8"), {"split": "test"}, "no scores of campplus-8-merged on test"),
        ((A, B), {"split": "train"}, "none, as nothing was scored on this split"),
        (
            (A, B),
            {"groups": ["Klingon"]},
            "no utterances of Klingon in dev; expected groups from: English-American, French",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(database: Any, systems: Any, options: Any, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        compare_in_database(database, *systems, **({"split": "dev"} | options))
    assert expected in str(raised.value)


def test_without_a_database_the_command_says_so(tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, A, B, "--database", tmp_path / "none.duckdb")
    assert "none.duckdb: no such file. Run the workflow" in capsys.readouterr().err


def run(monkeypatch: Any, capsys: Any, *arguments: Any) -> str:
    """Output of `mlcslm compare`."""
    monkeypatch.setattr(sys, "argv", ["mlcslm", "compare", *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
    return capsys.readouterr().out
