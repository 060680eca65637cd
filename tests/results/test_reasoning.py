"""Reflections, reinforcement and Tables 1 and 2: by hand for the toy corpus, and refused where files do not agree."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_queries import changed, make, query

from mlcslm.errors import UserError
from mlcslm.report.training_charts import training_sections
from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow

BEST = "ckpt-12500/format+accuracy"
RECONSTRUCTED = "reward set reconstructed: the paper's text lost the symbols"


def test_what_became_of_right_and_wrong_hypotheses(reasoning_inputs: Any) -> None:
    rows = query(
        reasoning_inputs,
        "SELECT grp, answers, without_reflection, wrong_first, corrected, left_wrong, left_better, made_worse, "
        "right_first, broken, first_errors, final_errors, length FROM self_correction "
        "WHERE system = 'ckpt-10000/greedy'",
    )
    assert rows == [
        # 1 -> 0, 3 -> 2, 0 -> 1
        ("English-American", 3, 0, 2, 1, 1, 1, 0, 1, 1, 4, 3, 12),
        # 1 -> 1, 1 -> 2
        ("French", 2, 0, 2, 0, 1, 0, 1, 0, 0, 2, 3, 2),
        ("Thai", 1, 1, 0, 0, 0, 0, 0, 0, 0, None, None, None),
    ]


def test_kinds_and_details_are_pooled(reasoning_inputs: Any) -> None:
    rows = query(
        reasoning_inputs,
        "SELECT types_named, types_true, types_right, errors_named, errors_true, errors_right, type_precision, "
        "type_recall FROM self_correction WHERE system = 'ckpt-10000/greedy' AND grp <> 'Thai'",
    )
    # English: {s} of {s}; {s, d} of {s, i}; {i} of none. French: none of {d}; {s} of {s}.
    assert rows == [(4, 3, 2, 4, 4, 2, 50.0, pytest.approx(200 / 3)), (1, 2, 1, 1, 2, 0, 100.0, 50.0)]


def test_a_system_that_lost_its_reflections_is_shown_and_one_that_has_none_to_lose_is_not(
    reasoning_inputs: Any,
) -> None:
    rows = query(
        reasoning_inputs, "SELECT system, sum(answers), sum(without_reflection) FROM self_correction GROUP BY ALL"
    )
    assert sorted(rows) == [("ckpt-10000/greedy", 6, 1), (f"{BEST}/greedy", 6, 6)]


def test_other_protocols_reflections_do_not_count(reasoning_inputs: Any, count_rows_of: Any) -> None:
    """The same reflections under another protocol beside the config's change nothing."""
    both = count_rows_of("ckpt-10000/greedy", "dev") + count_rows_of("ckpt-10000/greedy", "dev", "whisper-norm")
    reasoning_inputs.with_counts("ckpt-10000/greedy", "dev", both)
    (path,) = reasoning_inputs.reflections
    other = path.with_name("other.parquet")
    other.write_bytes(path.read_bytes())
    changed(other, protocol=["whisper-norm"] * 5)
    counts = "SELECT count(*) FROM reflections UNION ALL SELECT sum(answers)::INT FROM self_correction"
    assert query(reasoning_inputs, counts, reflections=[path, other]) == [(10,), (12,)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"final_errors": [5]}, "1 rows with other final_errors or length than the counts"),
        ({"length": [5, 5]}, "2 rows with other final_errors or length than the counts"),
        ({"named_right": [2]}, "1 rows with more right errors than named or true ones"),
        ({"utterance_id": ["x"]}, "1 reflections on utterances of dev that have no counts under mlcslm-2025, e.g. x"),
        ({"system": ["other/greedy"] * 5}, "5 reflections on utterances of dev that have no counts"),
        ({"protocol": ["whisper-norm"]}, "1 reflections on utterances of dev that have no counts under whisper-norm"),
    ],
)
def test_reflections_that_disagree_are_refused(reasoning_inputs: Any, columns: Any, expected: str) -> None:
    (path,) = reasoning_inputs.reflections
    changed(path, **columns)
    with pytest.raises(UserError, match="The files behind reflections do not agree") as raised:
        reasoning_inputs.build()
    assert expected in str(raised.value) and str(path) in str(raised.value)


def test_repeated_reflections_are_refused(reasoning_inputs: Any) -> None:
    with pytest.raises(UserError, match="repeat another's utterance_id"):
        reasoning_inputs.build(reflections=reasoning_inputs.reflections * 2)


def test_files_without_reflections_are_as_good_as_none(reasoning_inputs: Any) -> None:
    (path,) = reasoning_inputs.reflections
    none = path.with_name("none.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), none)
    assert query(reasoning_inputs, "SELECT count(*) FROM reflections", reflections=[none, path]) == [(5,)]
    assert query(reasoning_inputs, "SELECT count(*) FROM reflections", reflections=[none]) == [(0,)]


def test_telemetry_is_a_row_a_step_and_column(reasoning_inputs: Any) -> None:
    lengths = "SELECT step, value FROM reinforcement_log WHERE name = 'think_length' ORDER BY step"
    assert query(reasoning_inputs, lengths) == [(1, 4.0), (2, 1.0), (3, 0.0)]
    names = "SELECT DISTINCT checkpoint, name FROM reinforcement_log ORDER BY name"
    expected = ["collapsed", "reward", "reward_format", "think_length", "well_formed_share"]
    assert query(reasoning_inputs, names) == [(BEST, name) for name in expected]
    assert query(reasoning_inputs, f"SELECT count(*) FROM training_log WHERE checkpoint = '{BEST}'") == [(4,)]


def test_what_a_stage_measured_on_dev_is_a_curve_and_no_telemetry(reasoning_inputs: Any) -> None:
    """Of a supervised stage, which has no telemetry, and of the reinforcement stage, which has."""
    logs = list(reasoning_inputs.training_logs)
    supervised = next(path for path in logs if "ckpt-7000" in str(path))
    for path, losses in ((supervised, [None, 0.5, None, 0.25]), (next(p for p in logs if BEST in str(p)), [None] * 4)):
        table = pq.read_table(path)
        rates = ([None, 0.4, None, 0.2] * len(table))[: len(table)]
        table = table.append_column("dev_error_rate", pa.array(rates, pa.float64()))
        losses = (losses * len(table))[: len(table)]
        pq.write_table(table.append_column("dev_loss", pa.array(losses, pa.float64())), path)
    rows = query(reasoning_inputs, "SELECT * FROM dev_curves WHERE step <= 4 ORDER BY checkpoint DESC, step")
    assert rows == [
        ("ckpt-7000", 2, 0.4, 0.5),
        ("ckpt-7000", 4, 0.2, 0.25),
        (BEST, 2, 0.4, None),
        (BEST, 4, 0.2, None),
    ]
    telemetry = query(reasoning_inputs, "SELECT DISTINCT checkpoint FROM reinforcement_log")
    assert telemetry == [(BEST,)]
    assert query(reasoning_inputs, "SELECT count(*) FROM reinforcement_log WHERE name LIKE 'dev%'") == [(0,)]
    with open_database(reasoning_inputs.build()) as connection:
        (section,) = (one for one in training_sections(connection) if one["heading"] == "On a slice of dev")
    rate, loss = section["charts"]
    assert [trace["name"] for trace in rate["figure"]["data"]] == ["ckpt-7000", BEST]
    assert rate["figure"]["data"][0]["y"][:2] == [40.0, 20.0]
    assert [trace["name"] for trace in loss["figure"]["data"]] == ["ckpt-7000"]


def test_telemetry_that_is_no_number_is_refused(reasoning_inputs: Any) -> None:
    path = next(path for path in reasoning_inputs.training_logs if BEST in str(path))
    table = pq.read_table(path)
    pq.write_table(table.append_column("mood", [["good"] * 4]), path)
    with pytest.raises(UserError, match="not a Parquet file of the expected types"):
        reasoning_inputs.build()


def test_collapses_tell_when_and_how_long(reasoning_inputs: Any) -> None:
    assert query(reasoning_inputs, "FROM collapses") == [(BEST, 2, 2, 3)]


def test_table_1_by_hand(reasoning_inputs: Any) -> None:
    rows, page = make(reasoning_inputs, "table1")
    assert list(rows[0]) == [
        "stage", "training_loss", "training_loss_published", "dev", "dev_low", "dev_high", "dev_published",
    ]  # fmt: skip
    # Losses of the last tenth, rounded up: 2 of 20 steps, 12 of 120, 2 of 11, the only one.
    last = sum(2 / step for step in range(109, 121)) / 12
    assert [(*list(row.values())[:4], row["dev_published"]) for row in rows] == [
        ("ckpt-2000", "0.300", "0.35", "100.00", "24.32"),
        ("ckpt-4000", f"{last:.3f}", "0.20", "50.00", "18.99"),
        ("ckpt-7000", "0.313", "0.15", "20.00", "15.48"),
        ("ckpt-10000", "0.250", "0.10", "30.00", "13.42"),
    ]
    assert not any(row["dev_low"] or row["dev_high"] for row in rows), "four sessions are too few"
    assert "| stage | training loss | training loss published | dev | dev published |" in page
    assert "mean over the last tenth of the stage's own steps" in page
    assert "the preset has no stage, decoding or diarizer: ckpt-9000." in page


def test_table_2_by_hand(reasoning_inputs: Any) -> None:
    rows, page = make(reasoning_inputs, "table2")
    assert list(rows[0]) == ["reward_set", "dev", "dev_low", "dev_high", "dev_published", "note"]
    assert [(row["reward_set"], row["dev"], row["dev_published"], row["note"]) for row in rows] == [
        ("ckpt-10000 (without RL)", "30.00", "13.42", "-"),
        ("format+accuracy", "5.00", "13.15", f"collapsed in 2 steps, first in step 2; {RECONSTRUCTED}"),
    ]
    assert page.count(RECONSTRUCTED) == 1


def test_table_6_says_below_what_collapsed(reasoning_inputs: Any) -> None:
    """On a corpus whose test split has no transcripts, as the challenge's evaluation set."""
    changed(reasoning_inputs.manifests["test"], text=[None] * 3)
    scores = [path for path in reasoning_inputs.scores if path.stem == "dev"]
    table, page = make(reasoning_inputs, "table6", scores=scores)
    assert [Decimal(row["dev"]) for row in table][-2:] == [Decimal("30.00"), Decimal("5.00")]
    assert "- ckpt-12500, RLVF(format+accuracy): collapsed in 2 steps, first in step 2" in page
    assert f"- ckpt-12500, RLVF(format+accuracy): {RECONSTRUCTED}" in page


def test_a_stage_without_a_log_is_named(reasoning_inputs: Any) -> None:
    logs = [path for path in reasoning_inputs.training_logs if "ckpt-2000" not in str(path)]
    with pytest.raises(UserError, match=r"table1 has no training loss.*\s+ckpt-2000"):
        make(reasoning_inputs, "table1", training_logs=logs)


def test_rows_without_scores_are_named(reasoning_inputs: Any) -> None:
    for table, missing in (("table1", "ckpt-2000"), ("table2", BEST)):
        scores = [path for path in reasoning_inputs.scores if missing not in str(path)]
        with pytest.raises(UserError) as raised:
            make(reasoning_inputs, table, scores=scores)
        assert f"{missing}/greedy on dev: no scores" in str(raised.value)
