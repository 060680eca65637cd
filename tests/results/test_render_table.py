"""What `mlcslm show` prints, against the tables' own CSVs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import toy_queries

from mlcslm.cli.show import show
from mlcslm.cli.text_table import print_grid
from mlcslm.errors import UserError
from mlcslm.results.tables import render_table, renderable_names, write_table


def test_a_table_is_its_csv_with_intervals_beside_their_value(session_inputs, capsys) -> None:
    rows, _ = toy_queries.make(session_inputs, "table6")
    rendered = render_table(session_inputs.out, "table6")
    assert rendered.columns == ["checkpoint", "method", "dev", "dev published", "test", "test published"]
    assert rendered.numeric == [False, False, True, True, True, True]
    for row, expected in zip(rendered.rows, rows, strict=True):
        interval = f" [{expected['dev_low']}, {expected['dev_high']}]" if expected["dev_low"] else ""
        assert row[:4] == [
            *(expected["checkpoint"], expected["method"], f"{expected['dev']}{interval}", expected["dev_published"])
        ]


def test_published_columns_can_be_hidden(session_inputs, tmp_path: Path, capsys) -> None:
    """By the command, or by the configuration that the database was made with; the CSV keeps them."""
    session_inputs.build()
    show("table6", database=session_inputs.out, published=False)
    text = capsys.readouterr().out
    assert "published" not in text and "15.48" not in text and "LoRA SFT" in text
    assert "dev published" in render_table(session_inputs.out, "table6").columns
    session_inputs.config["report"] = {"published": False}
    write_table(session_inputs.build(), "table6", tmp_path / "t.csv", tmp_path / "t.md", published=False)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    page = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert render_table(session_inputs.out, "table6").columns == ["checkpoint", "method", "dev", "test"]
    assert "dev published" in render_table(session_inputs.out, "table6", published=True).columns
    assert rows[2]["dev_published"] == "15.48"
    assert "published" not in page.lower() and "15.48" not in page and "| checkpoint | method | dev | test |" in page


@pytest.mark.parametrize("name", ["table1", "table3", "table4", "table5", "table6", "table7", "systems", "groups"])
@pytest.mark.slow
def test_whatever_is_listed_can_be_shown(database: Path, name: str) -> None:
    assert name in dict(renderable_names(database))
    rendered = render_table(database, name)
    assert rendered.rows and all(len(row) == len(rendered.columns) for row in rendered.rows)


@pytest.mark.slow
def test_the_command_prints_the_same_in_every_form(database: Path, capsys) -> None:
    rendered = render_table(database, "systems")
    show("systems", database=database)
    text = capsys.readouterr().out
    assert all(cell in text for row in rendered.rows for cell in row)
    show("systems", database=database, form="csv")
    header, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert (header, rows) == (rendered.columns, rendered.rows)
    show("systems", database=database, form="json")
    assert [list(row.values()) for row in json.loads(capsys.readouterr().out)] == rendered.rows
    show("systems", database=database, form="markdown")
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == len(rendered.rows) + 1
    show(None, database=database)
    assert capsys.readouterr().out.startswith("table1   Table 1: ")


def test_other_names_and_missing_databases_are_told(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table9: no such table; expected one of: table1, "):
        render_table(database, "table9")
    with pytest.raises(UserError, match="no such table"):
        render_table(database, 'table6"; DROP TABLE cells; --')
    with pytest.raises(UserError, match=r"results\.duckdb: no such file"):
        render_table(tmp_path / "results.duckdb", "table6")


def test_a_table_without_rows_says_how_it_is_made(inputs) -> None:
    with pytest.raises(UserError, match=r"snakemake --cores all .*tables/table4\.csv"):
        render_table(inputs.build(), "table4")


def test_external_text_commands_neither_terminal_nor_spreadsheet(capsys) -> None:
    cells = ["\x1b[2J[bold]x[/bold]", "=HYPERLINK(1)"]
    print_grid("title [red]", ["a", "b"], [cells], [False, False])
    text = capsys.readouterr().out
    assert "\\x1b[2J[bold]x[/bold]" in text and "title [red]" in text and "\x1b" not in text
    print_grid("", ["a", "b"], [cells], [False, False], "csv")
    assert "'=HYPERLINK(1)" in capsys.readouterr().out
    print_grid("", ["a", "b"], [["a|b", "c"]], [False, False], "markdown")
    assert "| a\\|b | c |" in capsys.readouterr().out
