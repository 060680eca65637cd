"""Table 8 and the bounds of choosing: by hand for the toy corpus, and refused where files do not agree."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_queries import changed, make, query

from mlcslm.errors import UserError
from mlcslm.results.tables import render_table

pytestmark = pytest.mark.slow

BEST = "ckpt-7000/greedy"


def test_costs_are_those_of_all_stages(recipe_inputs: Any) -> None:
    # ckpt-2000: 1 step in the log; ckpt-4000: 120; ckpt-7000: 1. Each step 0.5 s at 1,000 tokens/s.
    assert query(recipe_inputs, "SELECT * FROM training_costs") == [
        ("ckpt-2000", 1, 10, 1e12, 500, 0.5),
        ("ckpt-4000", 2, 20, 3e12, 60_500, 60.5),
        ("ckpt-7000", 3, 30, 6e12, 61_000, 61.0),
    ]


def test_a_missing_log_leaves_the_cost_open_not_too_low(recipe_inputs: Any) -> None:
    kept = [path for path in recipe_inputs.training_logs if "ckpt-2000" not in str(path)]
    rows = query(recipe_inputs, "SELECT checkpoint, flop, tokens, seconds FROM training_costs", training_logs=kept)
    assert rows[1:] == [("ckpt-4000", 3e12, None, None), ("ckpt-7000", 6e12, None, None)]


def test_a_recipe_is_compared_with_its_control(recipe_inputs: Any) -> None:
    rows, page = make(recipe_inputs, "table8")
    # Errors on dev: 10 and 4 of 20; on test 3 and 1 of 7.
    plain, ours = rows
    assert (plain["recipe"], plain["control"], plain["dev"], plain["dev_difference"]) == ("plain", "-", "50.00", "")
    assert (ours["recipe"], ours["control"], ours["note"]) == ("ours", "plain", "a toy")
    assert (ours["dev"], ours["dev_difference"], ours["test_difference"]) == ("20.00", "-30.00", "-28.57")
    assert (ours["training_mtokens"], ours["training_tflop"], ours["training_minutes"]) == ("0.06", "6.00", "1.0")
    # 0.25 s for each of 6 utterances, 16.3 s of speech together.
    assert ours["seconds_per_minute"] == str(round(60 * 6 * 0.25 / 16.3, 2))
    assert page.startswith("# Table 8: our recipes") and "**Cost**" in page
    assert "not measured" not in page and "Published" not in page


def test_a_judge_counts_in_the_cost_of_the_recipes_that_it_judges(recipe_inputs: Any) -> None:
    table = pq.read_table(recipe_inputs.stage_costs)
    ctc = pa.array([7e11] * len(table), pa.float64())
    pq.write_table(table.append_column("ctc_flop", ctc), recipe_inputs.stage_costs)
    judged = {"method": "consensus", "consensus": {"candidates": 3, "weights": "ctc"}}
    for greedy, flop in (({}, ["3.00", "6.00"]), (judged, ["3.70", "6.70"])):
        config = recipe_inputs.config | {"decodings": recipe_inputs.config["decodings"] | {"greedy": greedy}}
        rows, _ = make(recipe_inputs, "table8", config=config)
        assert [row["training_tflop"] for row in rows] == flop


def test_the_difference_has_the_recipes_sign_whatever_the_order(recipe_inputs: Any) -> None:
    """`comparisons` has each pair once, in the order of the configuration; a control may come later in it."""
    recipes = {"best": {"checkpoint": "ckpt-7000"}, "worse": {"checkpoint": "ckpt-4000", "control": "best"}}
    rows, _ = make(recipe_inputs, "table8", config=recipe_inputs.config | {"recipes": recipes})
    assert [row["dev_difference"] for row in rows] == ["", "30.00"]


def test_intervals_turn_with_the_difference(session_inputs: Any) -> None:
    pairs = query(
        session_inputs,
        "SELECT a.difference + b.difference, a.low + b.high, a.high + b.low FROM paired_differences AS a "
        "JOIN paired_differences AS b ON a.system = b.control AND a.control = b.system "
        "AND a.measure = b.measure AND a.split = b.split AND a.grp = b.grp WHERE a.low IS NOT NULL",
    )
    assert pairs and set(pairs) == {(0.0, 0.0, 0.0)}


def test_a_run_without_recipes_has_no_table_8(inputs: Any) -> None:
    with pytest.raises(UserError, match="no table called 'table8'"):
        make(inputs, "table8")


def test_it_is_shown(recipe_inputs: Any) -> None:
    table = render_table(recipe_inputs.build(), "table8")
    assert table.title.startswith("Table 8") and [row[0] for row in table.rows] == ["plain", "ours"]
    assert "dev difference" in table.columns and "dev difference low" not in table.columns


def test_bounds_by_hand(recipe_inputs: Any) -> None:
    rows = query(recipe_inputs, "SELECT choice, among, oracle_errors, errors, length FROM bounds")
    assert rows == [("candidates", 1, 7, 4, 20), ("candidates", 2, 5, 4, 20), ("candidates", 3, 3, 4, 20)]
    rows = query(recipe_inputs, "SELECT grp, oracle_errors, errors, oracle_wer FROM bounds_by_group WHERE among = 3")
    assert rows == [
        ("English-American", 1, 1, pytest.approx(100 / 12)),
        ("French", 1, 2, 50.0),
        ("Thai", 1, 1, pytest.approx(100 / 6)),
    ]


def test_the_better_of_two_transcripts(reasoning_inputs: Any) -> None:
    # First transcripts 1, 3, 0, 1, 1 errors; final ones 0, 2, 1, 1, 2; the sixth answer has no reflection.
    rows = query(reasoning_inputs, "SELECT system, choice, oracle_errors, errors FROM bounds")
    assert rows == [("ckpt-10000/greedy", "transcripts", 0 + 2 + 0 + 1 + 1 + 0, 6)]


def test_an_oracle_worse_than_the_choice_is_refused(recipe_inputs: Any) -> None:
    (path,) = recipe_inputs.oracles
    changed(path, errors=[3, 3, 3])
    with pytest.raises(UserError, match="best candidate is worse than the one that was chosen"):
        recipe_inputs.build()


def test_costs_of_stages_that_are_gone_are_left_out(recipe_inputs: Any) -> None:
    config = recipe_inputs.config
    stages = {name: stage for name, stage in config["stages"].items() if name != "ckpt-7000"}
    kept = {
        kind: [path for path in getattr(recipe_inputs, kind) if "ckpt-7000" not in str(path)]
        for kind in ("scores", "hypotheses", "training_logs", "oracles")
    }
    smaller = replace(recipe_inputs, **kept, systems=recipe_inputs.systems[:2])
    smaller = replace(smaller, config=config | {"stages": stages, "recipes": {"plain": {"checkpoint": "ckpt-4000"}}})
    rows = query(smaller, "SELECT checkpoint FROM stage_costs UNION ALL SELECT recipe FROM table8 ORDER BY ALL")
    assert rows == [("ckpt-2000",), ("ckpt-4000",), ("plain",)]
    assert query(smaller, "SELECT dev FROM table8") == [(Decimal("50.00"),)]
