"""Tables 5 and 7 after what Table 6 has trained: two of the paper preset's diarizers, with public networks' shapes, and
a model that answers with speakers and times. All five of the paper's are run by tests/slurm."""

from __future__ import annotations

import csv
import sys
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import search_in
from paper_diarization import PRESET, packages, paper_diarization

TABLES = ("table5", "table7")
BEST = "ckpt-12500/format+accuracy+correction"
OF_THE_PAPER = ("campplus-8", "resnet101-8")
ANSWERING, STAGE, STRETCH_S = "answers-10", "diarized-8000", 10


@pytest.fixture(scope="module")
def diarized(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The toy workflow, with Tables 5 and 7 made by these diarizers, and the jobs that were planned."""
    root = tmp_path_factory.mktemp("diarized")
    best = yaml.safe_load(PRESET.read_text(encoding="utf-8"))["stages"][BEST]
    best |= {"steps": 2, "batch_size": 2, "accumulation": 1, "save_steps": 1000, "max_new_tokens": 12}
    answers = {"parent": "ckpt-7000", "trains": ["projector", "embedding", "head", "lm_lora"], "template": "diarized"}
    answers |= {"steps": 40, "batch_size": 2, "max_duration_s": STRETCH_S, "learning_rate": 5e-3}
    sections = paper_diarization(root)
    sections["diarizers"] = {name: sections["diarizers"][name] for name in OF_THE_PAPER} | {
        ANSWERING: {
            "max_segment_s": 8,
            "stretch_s": STRETCH_S,
            "embedding": "resnet101",
            "num_speakers": 2,
            "asr": {"checkpoint": STAGE, "decoding": "greedy"},
        }
    }
    del sections["embeddings"]["eres2net"]
    toy = finished.copied(root).changed(sections | {f"stages.{BEST}": best, f"stages.{STAGE}": answers})
    tables = [toy.results / "tables" / f"{name}.csv" for name in TABLES]
    with_packages = partial(search_in, packages(root))
    planned = toy.planned(*tables, before=with_packages)
    output = toy.run(*tables, before=with_packages).stdout
    return toy, planned, output


def rows_of(toy: Any, table: str) -> list[dict[str, str]]:
    with (toy.results / "tables" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_nothing_is_trained_or_decoded_again(diarized: Any) -> None:
    _, planned, _ = diarized
    assert planned == {
        **{"speaker_corpus": 4, "train_embedding": 1, "train": 2, "database": 1, "table": 2},
        **{"diarize": 4, "transcribe_segments": 4, "answer_sessions": 2, "score_diarization": 6},
        **{"decode": 4, "merge_hypotheses": 4, "score": 4},  # the two systems, which Table 6 of the toy lacks
    }


def test_every_row_is_measured(diarized: Any) -> None:
    toy, _, _ = diarized
    table5, table7 = (rows_of(toy, name) for name in TABLES)
    labels = [(row["embedding"], row["max_segment_s"]) for row in table5]
    assert labels == [("CAM++", "8"), ("ResNet101", "8")]
    assert [row["tcpwer_published"] for row in table5] == ["19.32", "18.03"]
    assert [(row["system"], row["max_segment_s"]) for row in table7] == [*labels, (ANSWERING, str(STRETCH_S))]
    for row in table5:
        assert 0 < float(row["der"]) < 100 and float(row["tcpwer"]) > 0
    for row in table7:
        assert float(row["dev"]) > 0 and float(row["test"]) > 0


def test_segments_are_no_longer_than_each_diarizer_may_have_them(diarized: Any) -> None:
    toy, _, _ = diarized
    for name, longest_s in (("campplus-8", 8), ("resnet101-8", 8), (ANSWERING, STRETCH_S)):
        segments = pq.read_table(toy.results / "diarization" / name / "dev" / "segments.parquet").to_pylist()
        assert segments and all(0 < segment["end"] - segment["start"] <= longest_s + 0.1 for segment in segments)


def test_answers_and_their_faults_are_in_the_database(diarized: Any) -> None:
    toy, _, output = diarized
    folder = toy.results / "diarization" / ANSWERING
    with duckdb.connect(str(toy.results / "results.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT * EXCLUDE (loops, mean_tokens) FROM stretch_answers_by_system").fetchall()
    assert [row[:2] for row in rows] == [(ANSWERING, "dev"), (ANSWERING, "test")]
    for _, split, answers, malformed, truncated in rows:
        reasons = pq.read_table(folder / split / "answers.parquet")["stop_reason"].to_pylist()
        stretches = pq.read_table(folder / split / "stretches.parquet").to_pylist()
        assert answers == len(reasons) == len(stretches) > 3
        assert (malformed, truncated) == (reasons.count("malformed"), reasons.count("length"))
        # Of a model that has learnt next to nothing.
        assert malformed + truncated > 0
        notice = f"{split}: {malformed} of {answers} answers malformed, {truncated} truncated, read as far as possible"
        assert notice in output
        assert all(stretch["end"] - stretch["start"] <= STRETCH_S for stretch in stretches)
