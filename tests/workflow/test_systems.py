"""External systems in the workflow, and submissions: beyond Table 6, nothing is trained or decoded for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq


def test_a_system_that_says_the_same_has_the_same_counts_and_is_handed_in(finished: Any, tmp_path: Path) -> None:
    toy = finished.copied(tmp_path)
    answers = pq.read_table(toy.results / "hypotheses" / "ckpt-7000" / "greedy" / "dev.parquet")
    text = tmp_path / "theirs.txt"
    lines = zip(answers["utterance_id"].to_pylist(), answers["transcript"].to_pylist(), strict=True)
    text.write_text("".join(f"{name} {' '.join(said.split())}\n" for name, said in lines), encoding="utf-8")
    toy = toy.changed({"systems": {"theirs": {"files": {"dev": str(text)}, "method": "the same"}}})
    handed_in = [toy.results / "submissions" / place / "track1.txt" for place in ("ckpt-7000/greedy", "theirs/dev")]
    assert toy.planned(toy.table, *handed_in) == {"evaluate": 1, "submission_track1": 2, "database": 1, "table": 1}
    toy.run(toy.table, *handed_in)
    with duckdb.connect(toy.results / "results.duckdb", read_only=True) as database:
        counts = "SELECT utterance_id, errors, length, insertions FROM asr_counts WHERE system = ? AND split = ?"
        theirs, ours = (database.execute(counts, [name, "dev"]).fetchall() for name in ("theirs", "ckpt-7000/greedy"))
        test = database.execute(counts, ["ckpt-7000/greedy", "test"]).fetchall()
    assert theirs == ours and theirs
    for path, counted in zip(handed_in, (test, theirs), strict=True):
        check = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert (check["entries"], check["errors"]) == (len(counted), sum(row[1] for row in counted))
        assert [line.split(" ")[0] for line in path.read_text().splitlines()] == [row[0] for row in counted]
