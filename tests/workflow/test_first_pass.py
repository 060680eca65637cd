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


def test_a_stage_reads_first_passes_of_folds_and_is_in_table_8(finished: Any, tmp_path: Path) -> None:
    stage = finished.config["stages"]["ckpt-4000"] | {"parent": "ckpt-7000", "steps": 3, "trains": ["lm_lora"]}
    choosing = {"method": "consensus", "max_new_tokens": 20, "batch_size": 2}
    choosing["consensus"] = {"candidates": 2, "weights": "ctc"}
    toy = finished.copied(tmp_path).changed(
        {
            "stages.first-pass": stage | {"template": "tagged-own-language", "first_pass": "ctc", "eval_steps": 3},
            "decodings.choosing": choosing,
            "ctc": {"steps": 3, "batch_size": 4, "folds": 3},
            "corpus.demo.train_sessions": 1,
            "recipes": {
                "plain": {"checkpoint": "ckpt-7000"},
                "ours": {"checkpoint": "first-pass", "control": "plain"},
                "chosen": {"checkpoint": "first-pass", "decoding": "choosing", "control": "ours"},
            },
        }
    )
    table = toy.results / "tables" / "table8.csv"
    planned = toy.planned(table)
    new = {rule: planned.get(rule) for rule in ("train", "train_ctc_head", "train_ctc_fold_head", "first_pass")}
    assert new == {"train": 1, "train_ctc_head": 1, "train_ctc_fold_head": 3, "first_pass": 1}
    toy.run(table)
    rows = {row["recipe"]: row for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert float(rows["ours"]["training_tflop"]) >= float(rows["plain"]["training_tflop"])
    utterances = pq.read_table(toy.results / "manifests" / "train.parquet").to_pylist()
    heard = pq.read_table(toy.results / "first_pass" / "ckpt-7000" / "train.parquet").to_pylist()
    assert [row["utterance_id"] for row in heard] == [row["utterance_id"] for row in utterances]
    session = {row["utterance_id"]: row["session_id"] for row in utterances}
    for number in range(3):
        head = toy.results / "first_pass" / "ckpt-7000" / f"{number}-of-3" / "ctc.json"
        assert json.loads(head.read_text(encoding="utf-8"))["fold"] == [number, 3]
        ours = {session[row["utterance_id"]] for row in heard if row["fold"] == number}
        assert ours == sessions_of_fold(utterances, (number, 3))
    with open_database(toy.results / "results.duckdb") as connection:
        query = "SELECT system, count(first_pass), count(*) FROM hypotheses GROUP BY system"
        counted = {system: (own, total) for system, own, total in connection.execute(query).fetchall()}
    for system, (own, total) in counted.items():
        assert own == (total if system.startswith("first-pass/") else 0)
    assert {"first-pass/greedy", "first-pass/choosing"} <= counted.keys()
    card = json.loads((toy.results / "checkpoints" / "first-pass" / "checkpoint.json").read_text(encoding="utf-8"))
    assert card["recipe"]["first_pass"] == "ctc"
    assert toy.planned(table) == {}
