"""A stage with a first pass through Snakemake: what it needs, that it is made with one command, and only once."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow


def test_a_stage_reads_first_passes_of_folds_and_is_in_table_8(
    toy_config: dict[str, Any], make_toy: Any, tmp_path: Path
) -> None:
    plain = toy_config["stages"]["baseline-1"] | {"trains": ["projector", "embedding", "head"], "template": "tagged"}
    ours = plain | {"parent": "plain", "first_pass": "ctc", "eval_steps": 3, "eval_utterances": 3}
    choosing = {"method": "consensus", "consensus": {"candidates": 2, "weights": "ctc"}}
    short = {"max_new_tokens": 20, "batch_size": 2}
    toy = make_toy(tmp_path, toy_config).changed(
        {
            "stages": {"plain": plain, "first-pass": ours},
            "decodings": {"greedy": short, "choosing": choosing | short},
            "ctc": {"steps": 3, "batch_size": 4, "folds": 2},
            "corpus.demo.train_sessions": 2,
            "recipes": {
                "plain": {"checkpoint": "plain"},
                "ours": {"checkpoint": "first-pass", "control": "plain"},
                "chosen": {"checkpoint": "first-pass", "decoding": "choosing", "control": "ours"},
            },
        }
    )
    toy.config.pop("reasoning")
    table = toy.results / "tables" / "table8.csv"
    planned = toy.planned(table)
    new = {rule: planned.get(rule) for rule in ("train", "train_ctc_head", "train_ctc_fold_head", "first_pass")}
    assert new == {"train": 2, "train_ctc_head": 1, "train_ctc_fold_head": 2, "first_pass": 1}
    toy.run(table)
    rows = {row["recipe"]: row for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert float(rows["ours"]["training_tflop"]) >= float(rows["plain"]["training_tflop"])
    utterances = pq.read_table(toy.results / "manifests" / "train.parquet").to_pylist()
    heard = pq.read_table(toy.results / "first_pass" / "foundation" / "train.parquet").to_pylist()
    assert [row["utterance_id"] for row in heard] == [row["utterance_id"] for row in utterances]
    session = {row["utterance_id"]: row["session_id"] for row in utterances}
    for number in range(2):
        head = toy.results / "first_pass" / "foundation" / f"{number}-of-2" / "ctc.json"
        assert json.loads(head.read_text(encoding="utf-8"))["fold"] == [number, 2]
        own = {session[row["utterance_id"]] for row in heard if row["fold"] == number}
        assert own == sessions_of_fold(utterances, (number, 2)) and len(own) == 3
    with open_database(toy.results / "results.duckdb") as connection:
        query = "SELECT system, count(first_pass), count(*) FROM hypotheses GROUP BY system"
        counted = {system: (own, total) for system, own, total in connection.execute(query).fetchall()}
    for system, (count, total) in counted.items():
        assert count == (total if system.startswith("first-pass/") else 0)
    assert {"first-pass/greedy", "first-pass/choosing"} <= counted.keys()
    card = json.loads((toy.results / "checkpoints" / "first-pass" / "checkpoint.json").read_text(encoding="utf-8"))
    assert card["recipe"]["first_pass"] == "ctc"
    assert toy.planned(table) == {}
