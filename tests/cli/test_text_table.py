"""Tables at a terminal: within its width, and nothing lost."""

from __future__ import annotations

import pytest

from mlcslm.cli.text_table import print_grid

COLUMNS = ["checkpoint", "method", "dev", "dev published", "test", "test published"]
ROWS = [
    [
        "ckpt-12500",
        "RLVF(format+accuracy+correction)",
        "17.14 [10.99, 21.84]",
        "12.73",
        "16.90 [11.00, 20.00]",
        "11.57",
    ],
    ["control-10000", "LoRA SFT, as long as CoT SFT", "17.00 [10.00, 21.00]", "", "16.00 [11.00, 20.00]", ""],
]


def test_table_6_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_grid("Table 6", COLUMNS, ROWS, [False, False, True, True, True, True], width=80)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    text = " ".join(" ".join(lines).split())
    for word in ("control-10000", "RLVF(format+", "correction)", "[10.99, 21.84]", "12.73", "paper"):
        assert word in text


def test_a_wide_terminal_has_a_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_grid("Table 6", COLUMNS, ROWS, [False, False, True, True, True, True], width=200)
    lines = capsys.readouterr().out.splitlines()
    assert any("RLVF(format+accuracy+correction)" in line and "[11.00, 20.00]" in line for line in lines)
    assert "dev published" in "\n".join(lines)


def test_columns_beyond_the_width_follow_below_beside_the_same_labels(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["recipe", *(f"seconds of quantity {number}" for number in range(9)), "note"]
    rows = [[name, *(f"{number}{number}.50 [-1.00, 99.00]" for number in range(9)), "costs more"] for name in "abc"]
    print_grid("Table 8", columns, rows, [False, *[True] * 9, False], width=80)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Table 8" and printed.count("Table 8") == 1
    for number in range(9):
        assert printed.count(f" {number}{number}.50") == 3
    assert printed.count("[-1.00, 99.00]") == 27  # none is broken
    assert printed.split().count("quantity") == 9 and printed.count("costs more") == 3
    parts = printed.count("recipe")
    assert parts > 1 and all(sum(line.split()[:1] == [name] for line in lines) == parts for name in "abc")
