"""Tables 3 and 4 of the toy corpus by hand, and the best setting of each group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from toy_queries import make, query

from mlcslm.errors import UserError

pytestmark = pytest.mark.slow

BEST = "ckpt-12500/format+accuracy+correction"


def test_table_3_by_hand(grid_inputs: Any) -> None:
    rows, page = make(grid_inputs, "table3")
    assert list(rows[0]) == [
        *("stage", "training_loss", "training_loss_published"),
        *("dev", "dev_low", "dev_high", "dev_published", "note"),
    ]
    rendered = ("stage", "training_loss", "training_loss_published", "dev", "dev_published")
    assert [tuple(row[name] for name in rendered) for row in rows] == [
        ("ckpt-7000", "0.313", "0.15", "20.00", "15.48"),
        ("ckpt-9000 (with context)", "0.250", "0.14", "10.00", "14.30"),
        ("ckpt-9000 (with own transcripts as context)", "0.250", "", "15.00", ""),
    ]
    assert [row["note"].split(":")[-1].strip() for row in rows] == [
        "-",
        "an upper bound",
        "end to end, not in the paper",
    ]
    assert "Not measured here" in page and "**Training loss**" in page
    # In sessions of 8, 4, 2 and 6 tokens the reference's context has 1, 0, 1 and 0 errors, no context 1, 0, 2 and 1.
    assert "| ckpt-7000 | ckpt-9000 (with context) | -10.00 |" in page


def test_a_context_that_was_not_decoded_is_missed(grid_inputs: Any) -> None:
    scores = [path for path in grid_inputs.scores if "hypothesis-context" not in str(path)]
    with pytest.raises(UserError, match="ckpt-9000-context/greedy-hypothesis-context on dev: no scores"):
        make(grid_inputs, "table3", scores=scores)


def test_table_4_by_hand(grid_inputs: Any) -> None:
    rows, page = make(grid_inputs, "table4")
    assert [{name: cell for name, cell in row.items() if name not in ("dev_low", "dev_high")} for row in rows] == [
        {
            **{"method": "multinomial sampling", "beam_size": "-", "max_new_tokens": "150"},
            **{"dev": "25.00", "dev_published": "16.72", "percent_cut": "0.00", "percent_looping": "0.00"},
            # 5 to 10 tokens; six times 0.25 s for 16.3 s of speech
            **{"mean_tokens": "7.5", "real_time_factor": "0.0920"},
        },
        {
            **{"method": "beam search", "beam_size": "10", "max_new_tokens": "150"},
            **{"dev": "35.00", "dev_published": "14.04", "percent_cut": "33.33", "percent_looping": "16.67"},
            **{"mean_tokens": "7.5", "real_time_factor": "0.0920"},
        },
    ]
    assert "| percent cut | percent looping | mean tokens | real time factor |" in page
    assert "truncated at the length limit" in page
    assert "| French | multinomial sampling - 150 | 50.00 | 150.00 |" in page
    assert "| Thai | multinomial sampling - 150; beam search 10 150 | 33.33 | 0.00 |" in page
    assert page.count("Beam+Sampling") == 7  # the rows that the toy does not decode are named below


def test_rows_whose_decoding_the_config_lacks_are_left_out(grid_inputs: Any) -> None:
    decodings = {name: {} for name in grid_inputs.config["decodings"] if name != "beam-10-150"}
    rows, _ = make(grid_inputs, "table4", config=grid_inputs.config | {"decodings": decodings})
    assert [row["method"] for row in rows] == ["multinomial sampling"]


def test_best_setting_of_each_group(grid_inputs: Any) -> None:
    rows = query(grid_inputs, "SELECT grp, method, errors, round(above_best, 2), best FROM grid_by_group")
    assert rows == [
        ("English-American", "beam search", 1, 0.0, True),
        ("English-American", "multinomial sampling", 2, 8.33, False),
        ("French", "multinomial sampling", 1, 0.0, True),
        ("French", "beam search", 4, 150.0, False),
        ("Thai", "multinomial sampling", 2, 0.0, True),
        ("Thai", "beam search", 2, 0.0, True),
    ]
    looping = "SELECT percent_cut, percent_looping FROM grid_by_group WHERE grp = 'French' AND method = 'beam search'"
    assert query(grid_inputs, looping) == [(50.0, 50.0)]


def test_groups_add_up_to_the_table(grid_inputs: Any) -> None:
    pooled = "SELECT 100 * sum(errors) / sum(length) FROM grid_by_group GROUP BY system ORDER BY system DESC"
    assert query(grid_inputs, pooled) == [(25.0,), (35.0,)]


def test_files_from_before_loops_were_counted_leave_them_open(grid_inputs: Any) -> None:
    for path in grid_inputs.hypotheses:
        without_loops(path)
    rows, page = make(grid_inputs, "table4")
    assert [row["percent_looping"] for row in rows] == ["", ""] and rows[1]["percent_cut"] == "33.33"
    assert "35.00" in page


def without_loops(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns("loop"), path)
