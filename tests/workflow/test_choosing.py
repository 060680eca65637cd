"""A stage that measures itself and reads contexts with mistakes, through Snakemake: what it needs, what it leaves."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow


def test_a_stage_waits_for_what_it_measures_and_reads_and_keeps_its_best(finished: Any, tmp_path: Any) -> None:
    stage = finished.config["stages"]["ckpt-7000"] | {"parent": "ckpt-7000", "trains": ["lm_lora"], "steps": 4}
    stage |= {"context": 1, "context_source": "mixed", "eval_steps": 2, "eval_utterances": 3, "eval_max_new_tokens": 9}
    stage |= {"keep": 1, "result": "best"}
    toy = finished.copied(tmp_path).changed({"stages.ckpt-8000": stage})
    card = toy.results / "checkpoints" / "ckpt-8000" / "checkpoint.json"
    scores = toy.results / "scores" / "ckpt-8000" / "greedy" / "dev.parquet"
    assert toy.planned(card) == {"train": 1}
    heard = toy.results / "reasoning" / "hypotheses" / "ckpt-7000" / "all.parquet"
    aside = heard.rename(heard.with_name("aside.parquet"))
    assert toy.planned(card)["decode_training_set"] == 1
    own = toy.changed({"stages.ckpt-8000.context_source": "references", "stages.ckpt-8000.parent": "ckpt-4000"})
    assert "decode_training_set" not in own.planned(card)
    aside.rename(heard)
    toy.run(scores, toy.results / "results.duckdb")
    measured = json.loads((card.parent / "measured.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in measured["measured"]] == [2, 4]
    assert measured["kept"] == measured["result"] and len(measured["kept"]) == 1
    (kept,) = (card.parent / "kept").iterdir()
    lora = "lm_lora.safetensors"
    assert (kept / lora).read_bytes() == (card.parent / lora).read_bytes()
    log = pq.read_table(card.parent / "training_log.parquet").to_pydict()
    with open_database(toy.results / "results.duckdb") as connection:
        curve = connection.execute("SELECT step, dev_error_rate FROM dev_curves").fetchall()
    assert curve == [(step, log["dev_error_rate"][step - 1]) for step in (2, 4)]
