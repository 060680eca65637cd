from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import yaml
from toy_queries import write_pages

from mlcslm.errors import UserError
from mlcslm.results.database import SystemRow
from mlcslm.results.tables import write_table

HEADER = "checkpoint,method,dev,dev_low,dev_high,dev_published,test,test_low,test_high,test_published"
FORMULA = '=HYPERLINK("http://example.org","open")'


@pytest.mark.slow
def test_csv_is_the_view(inputs: Any) -> None:
    lines = write_pages(inputs)[0].read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER
    rows = list(csv.DictReader(lines))
    assert [row["checkpoint"] for row in rows] == ["baseline", "ckpt-4000", "ckpt-7000"]
    assert [(row["dev"], row["dev_published"]) for row in rows] == [
        ("350.00", "21.49"),
        ("50.00", "18.99"),
        ("20.00", "15.48"),
    ]
    assert [(row["test"], row["method"]) for row in rows] == [
        ("100.00", "-"),
        ("42.86", "Special token SFT"),
        ("14.29", "LoRA SFT"),
    ]
    for row in rows:
        ends = [row.pop(f"{split}_{end}") for split in ("dev", "test") for end in ("low", "high")]
        assert ends == [""] * 4, "four sessions and three are too few"
        assert all(len(value.split(".")[1]) == 2 for key, value in row.items() if key not in ("checkpoint", "method"))


def test_csv_has_intervals_from_five_sessions_on(session_inputs: Any) -> None:
    rows = list(csv.DictReader(write_pages(session_inputs)[0].open(encoding="utf-8")))
    # The baseline's errors are nearly all in one session: its interval would say nothing.
    assert rows[0]["dev_low"] == ""
    for row in rows[1:]:
        assert float(row["dev_low"]) < float(row["dev"]) < float(row["dev_high"])
    assert all(row["test_low"] == row["test_high"] == "" for row in rows)


def test_page_tells_measured_from_published(session_inputs: Any) -> None:
    paths = write_pages(session_inputs)
    page = paths[1].read_text(encoding="utf-8")
    (row,) = [row for row in csv.DictReader(paths[0].open()) if row["checkpoint"] == "ckpt-7000"]
    interval = f"20.00 [{row['dev_low']}, {row['dev_high']}]"
    assert f"| ckpt-7000 | LoRA SFT | {interval} | 15.48 |" in page
    assert "preset toy" in page and "toy-encoder + toy-lm" in page and "`mlcslm-2025`" in page and "collar none" in page
    assert (
        "dev: 6 utterances, 6 sessions, 20 reference tokens; test: 3 utterances, 3 sessions, 7 reference tokens" in page
    )
    assert "by a jackknife within groups; none below 5 sessions." in page and "Not measured here" in page
    assert (
        "the preset has no stage, decoding or diarizer: ckpt-10000, CoT SFT; ckpt-12500, RLVF(format+accuracy);" in page
    )


@pytest.mark.slow
def test_missing_scores_name_system_and_split(inputs: Any) -> None:
    scores = [path for path in inputs.scores if not path.match("ckpt-7000/greedy/test.parquet")]
    with pytest.raises(UserError, match=r"ckpt-7000/greedy on test: no scores") as raised:
        write_pages(inputs, scores=scores)
    assert "on dev" not in str(raised.value)
    assert not (inputs.folder / "tables").exists()


@pytest.mark.slow
def test_a_stage_that_is_not_decoded_is_missed(inputs: Any) -> None:
    kept = {"scores", "hypotheses"}
    changes = {name: [path for path in getattr(inputs, name) if "ckpt-7000" not in str(path)] for name in kept}
    systems = [SystemRow("baseline-2", "greedy"), SystemRow("ckpt-4000", "greedy")]
    with pytest.raises(UserError, match=r"(?s)ckpt-7000/greedy on dev.*ckpt-7000/greedy on test"):
        write_pages(inputs, systems=systems, **changes)


@pytest.mark.slow
def test_a_split_without_reference_tokens_is_no_rate(inputs: Any, count_rows_of: Any) -> None:
    for system in ("baseline-2/greedy", "ckpt-4000/greedy", "ckpt-7000/greedy"):
        rows = count_rows_of(system, "test")
        for row in rows:
            row.update(length=0, errors=1, insertions=1, deletions=0, substitutions=0)
        inputs.with_counts(system, "test", rows)
    with pytest.raises(UserError, match="baseline-2/greedy on test: 3 utterances, no reference token"):
        write_pages(inputs)


@pytest.mark.slow
def test_a_split_without_transcripts_stays_empty(inputs: Any, manifest_rows_of: Any) -> None:
    inputs.with_manifest("test", [{**row, "text": None} for row in manifest_rows_of("test")])
    paths = write_pages(inputs, scores=[path for path in inputs.scores if path.stem == "dev"])
    rows = list(csv.DictReader(paths[0].open()))
    assert [(row["dev"], row["test"], row["test_low"], row["test_published"]) for row in rows][2] == (
        "20.00",
        "",
        "",
        "13.86",
    )
    assert "| not measured | 13.86 |" in paths[1].read_text(encoding="utf-8")


@pytest.mark.slow
def test_hostile_labels_are_inert(inputs: Any, tmp_path: Path) -> None:
    content = yaml.safe_load(inputs.tables.read_text(encoding="utf-8"))
    rows = content["table6"]["rows"]
    rows[0]["labels"] = {"checkpoint": "'; DROP TABLE published; --", "method": FORMULA}
    rows[1]["labels"]["method"] = "@cmd | [x](http://example.org) <b>"
    tables = tmp_path / "tables.yaml"
    tables.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    paths = write_pages(inputs, tables=tables)
    written = list(csv.DictReader(paths[0].open()))
    assert [(row["checkpoint"], row["method"]) for row in written][:2] == [
        ("'; DROP TABLE published; --", f"'{FORMULA}"),
        ("ckpt-4000", "'@cmd | [x](http://example.org) <b>"),
    ]
    assert [row["dev_published"] for row in written] == ["21.49", "18.99", "15.48"]
    page = paths[1].read_text(encoding="utf-8")
    assert r"| @cmd \| \[x\](http://example.org) \<b\> |" in page


def test_unknown_table(inputs: Any) -> None:
    for name in ("table9", "settings", 'table6" UNION SELECT 1 --'):
        with pytest.raises(UserError, match="expected one of: table1, table2, table3, table4, table5, table6, table7"):
            write_pages(inputs, name)


@pytest.mark.slow
def test_no_row_at_all(inputs: Any) -> None:
    stages = {name: inputs.config["stages"][name] for name in ("baseline-1", "ckpt-2000")}
    with pytest.raises(UserError, match="no stage and decoding, nor diarizer, of table6"):
        write_pages(inputs, config={**inputs.config, "stages": stages})


@pytest.mark.slow
def test_table_of_a_locked_database(inputs: Any) -> None:
    import duckdb

    with duckdb.connect(str(inputs.build())), pytest.raises(UserError, match="open for writing"):
        write_table(inputs.out, "table6", inputs.folder / "t.csv", inputs.folder / "t.md")
