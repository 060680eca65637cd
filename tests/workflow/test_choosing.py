"""A stage that measures itself and reads contexts with mistakes, through Snakemake: what it needs, what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow


def test_a_stage_waits_for_what_it_measures_and_reads_and_keeps_its_best(
    toy_config: dict[str, Any], make_toy: Any, tmp_path: Path
) -> None:
    first = toy_config["stages"]["baseline-1"] | {"trains": ["projector", "lm_lora"]}
    stage = first | {"parent": "ckpt-7000", "steps": 4, "context": 1, "context_source": "mixed", "eval_steps": 2}
    stage |= {"eval_utterances": 3, "eval_max_new_tokens": 9, "keep": 1, "result": "best"}
    config = toy_config | {"stages": {"ckpt-7000": first, "ckpt-8000": stage}, "resources": {"cache_encoder": False}}
    toy = make_toy(tmp_path, config)
    card = toy.results / "checkpoints" / "ckpt-8000" / "checkpoint.json"
    needed = {"demo_corpus": 1, "manifest": 2, "train": 2, "decode_training_set": 1}
    assert toy.planned(card) == needed
    plain = toy.changed({"stages.ckpt-8000": first | {"parent": "ckpt-7000", "context": 1}})
    assert plain.planned(card) == {"demo_corpus": 1, "manifest": 1, "train": 2}
    toy.run(card)
    measured = json.loads((card.parent / "measured.json").read_text(encoding="utf-8"))
    assert [row["step"] for row in measured["measured"]] == [2, 4]
    assert measured["kept"] == measured["result"] and len(measured["kept"]) == 1
    (kept,) = (card.parent / "kept").iterdir()
    for part in ("projector.safetensors", "lm_lora.safetensors"):
        assert (kept / part).read_bytes() == (card.parent / part).read_bytes()
    rates = pq.read_table(card.parent / "training_log.parquet")["dev_error_rate"].to_pylist()
    assert [rate is not None for rate in rates] == [False, True, False, True]
    assert toy.planned(card) == {}
