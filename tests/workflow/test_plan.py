"""The jobs that `mlcslm plan` counts against those of Snakemake's own dry run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlcslm.config.reading import parse_config
from mlcslm.plan.jobs import job_counts, needed_for_tables
from mlcslm.workflow.layout import Layout

pytestmark = pytest.mark.slow


def test_jobs_are_those_of_a_dry_run(toy_config: dict[str, Any], make_toy: Any, tmp_path: Path) -> None:
    embedding = {"network": "resnet101", "size": {"channels": 8, "blocks": [1, 1, 1, 1]}, "training": {"steps": 1}}
    diarizer = {"embedding": "resnet101", "asr": {"checkpoint": "ckpt-7000", "decoding": "greedy"}}
    stage = {"parent": "ckpt-7000", "trains": ["projector"], "template": "diarized", "steps": 1}
    answering = {"embedding": "resnet101", "stretch_s": 20, "asr": {"checkpoint": "answers", "decoding": "greedy"}}
    toy = make_toy(tmp_path, toy_config).changed(
        {
            "stages.answers": stage,
            "embeddings": {"resnet101": embedding},
            "diarizers": {"baseline": diarizer, "resnet101-8": diarizer, "another": diarizer, "answering": answering},
            "resources": {"languages_per_shard": 2},
            "decodings.choosing": {"method": "consensus", "consensus": {"candidates": 3}},
            "recipes": {
                "plain": {"checkpoint": "ckpt-4000"},
                "ours": {"checkpoint": "ckpt-7000", "decoding": "choosing", "control": "plain"},
            },
        }
    )
    layout = Layout(parse_config(toy.config | {"results": str(toy.results)}))
    planned = toy.planned("all")
    assert planned.pop("total", 0) == 0
    assert job_counts(layout, needed_for_tables(layout)) == planned
    assert planned["decode"] == 2 * planned["score"]  # three groups are two shards


def test_nothing_is_decoded_for_reflections_that_nobody_is_trained_on(toy_config: dict[str, Any]) -> None:
    stages = {name: stage for name, stage in toy_config["stages"].items() if stage["template"] != "reasoning"}
    config = {key: value for key, value in toy_config.items() if key != "reasoning"} | {"stages": stages}
    layout = Layout(parse_config(config))
    counts = job_counts(layout, needed_for_tables(layout))
    assert "decode_training_set" not in counts
    assert "reasoning_data" not in counts
    assert counts["train"] == len(stages)
