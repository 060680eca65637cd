"""A stage that chooses between a checkpoint's transcript and a CTC head's, through Snakemake, with one command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.results.database import open_database

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def test_a_stage_chooses_among_hypotheses_of_folds_and_is_in_table_8(
    toy_config: dict[str, Any], make_toy: Any, tmp_path: Path
) -> None:
    plain = toy_config["stages"]["baseline-1"] | {"trains": ["projector", "embedding", "head"], "template": "tagged"}
    first_pass = {"checkpoint": "control", "decoding": "greedy", "folds": ["fold-0", "fold-1"]}
    ours = plain | {"parent": "control", "eval_steps": 3, "eval_utterances": 3}
    short = {"max_new_tokens": 20, "batch_size": 2}
    toy = make_toy(tmp_path, toy_config).changed(
        {
            "stages": {
                "plain": plain,
                "control": plain | {"parent": "plain"},
                "fold-0": plain | {"parent": "plain", "fold": [0, 2]},
                "fold-1": plain | {"parent": "plain", "fold": [1, 2]},
                "corrected": ours | {"first_pass": first_pass},
                "choose": ours | {"template": "choose", "first_pass": [first_pass, "ctc"]},
            },
            "decodings": {"greedy": short, "sampled": {"method": "multinomial"} | short},
            "ctc": {"steps": 3, "batch_size": 4, "folds": 2},
            "corpus.demo.train_sessions": 2,
            "recipes": {
                "plain": {"checkpoint": "control"},
                "corrected": {"checkpoint": "corrected", "control": "plain"},
                "chosen": {"checkpoint": "choose", "decoding": "sampled", "control": "plain"},
            },
        }
    )
    toy.config.pop("reasoning")
    table = toy.results / "tables" / "table8.csv"
    planned = toy.planned(table)
    new = {rule: planned.get(rule) for rule in ("train", "decode_fold", "train_ctc_head", "first_pass", "decode")}
    assert new == {"train": 6, "decode_fold": 2, "train_ctc_head": 1, "first_pass": 1, "decode": 6}
    toy.run(table)
    # Each fold's checkpoint has answered the sessions that it was trained without, and no others.
    utterances = pq.read_table(toy.results / "manifests" / "train.parquet").to_pylist()
    session = {row["utterance_id"]: row["session_id"] for row in utterances}
    for number in range(2):
        file = toy.results / "first_pass" / "hypotheses" / f"fold-{number}" / "greedy" / "all.parquet"
        answered = pq.read_table(file).to_pylist()
        assert {session[row["utterance_id"]] for row in answered} == sessions_of_fold(utterances, (number, 2))
    # What a prompt on dev has are the control's hypotheses; what is scored is one of them, or a rewrite.
    controls = _transcripts(toy.results / "hypotheses" / "control" / "greedy" / "dev.parquet")
    for row in pq.read_table(toy.results / "hypotheses" / "corrected" / "greedy" / "dev.parquet").to_pylist():
        assert row["first_pass"] == controls[row["utterance_id"]]
    for row in pq.read_table(toy.results / "hypotheses" / "choose" / "sampled" / "dev.parquet").to_pylist():
        kept, other = row["first_pass"].split("\n")
        assert kept == controls[row["utterance_id"]]
        if row["stop_reason"] == "malformed":
            assert row["transcript"] == kept
        assert row["transcript"] in (kept, other) or row["raw_text"].lstrip().startswith("rewrite")
    rows = {row["recipe"]: row for row in csv.DictReader(table.open(encoding="utf-8"))}
    assert set(rows) == {"plain", "corrected", "chosen"}
    with open_database(toy.results / "results.duckdb") as connection:
        costs = dict(connection.execute("SELECT checkpoint, flop FROM training_costs").fetchall())
        counted = connection.execute(_documented_query()).fetchall()
        flops = dict(connection.execute("SELECT checkpoint, flop FROM stage_costs").fetchall())
    assert sum(answers for _, _, answers, *_ in counted) == 2 * len(controls)
    for _, choice, answers, malformed, _, errors, if_kept in counted:
        assert choice in ("", "keep", "other", "rewrite")
        if choice == "keep" or malformed == answers:
            assert errors == if_kept
    # Both take the folds' training too, whose stages are as long as the control's; the choice also its CTC heads.
    assert costs["corrected"] == pytest.approx(flops["plain"] + flops["control"] + flops["corrected"])
    assert flops["corrected"] > flops["fold-0"] + flops["fold-1"]
    assert flops["choose"] > flops["fold-0"] + flops["fold-1"]
    card = json.loads((toy.results / "checkpoints" / "choose" / "checkpoint.json").read_text(encoding="utf-8"))
    assert card["recipe"]["first_pass"] == [first_pass, "ctc"] and "rewrite_above" not in card["recipe"]
    assert toy.planned(table) == {}


def _documented_query() -> str:
    text = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    query = text.split("```sql\n")[1].split("```")[0]
    return query.replace("choose-10200/greedy", "choose/sampled").replace("control-10000", "control")


def _transcripts(file: Path) -> dict[str, str]:
    return {row["utterance_id"]: row["transcript"] for row in pq.read_table(file).to_pylist()}
