"""Tables 5 and 7 of the paper preset: its diarizers, with public networks' shapes, after what Table 6 has trained."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from paper_diarization import PRESET, packages, paper_diarization

TABLES = ("table5", "table7")
BEST = "ckpt-12500/format+accuracy+correction"
DIARIZED = {"dev": 7, "test": 4}  # Table 5 with our variants, and Table 7's rows


@pytest.fixture(scope="module")
def diarized(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The toy workflow, with Tables 5 and 7 made by the paper preset's diarizers, and the jobs that were planned."""
    root = tmp_path_factory.mktemp("diarized")
    stage = yaml.safe_load(PRESET.read_text(encoding="utf-8"))["stages"][BEST]
    stage |= {"steps": 2, "batch_size": 2, "accumulation": 1, "save_steps": 1000, "max_new_tokens": 12}
    toy = finished.copied(root).changed(paper_diarization(root) | {f"stages.{BEST}": stage})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", packages(root))
        tables = [toy.results / "tables" / f"{name}.csv" for name in TABLES]
        planned = toy.planned(*tables)
        toy.run(*tables)
        yield toy, planned


def rows_of(toy: Any, table: str) -> list[dict[str, str]]:
    with (toy.results / "tables" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_nothing_is_trained_or_decoded_again(diarized: Any) -> None:
    _, planned = diarized
    jobs = sum(DIARIZED.values())
    assert planned == {
        **{"speaker_corpus": 4, "train_embedding": 1, "train": 1, "database": 1, "table": 2},
        **{"diarize": jobs, "transcribe_segments": jobs, "score_diarization": jobs},
        **{"decode": 2, "merge_hypotheses": 2, "score": 2},  # the best system, which Table 6 of the toy lacks
    }


def test_every_row_of_the_paper_is_measured(diarized: Any) -> None:
    toy, _ = diarized
    table5, table7 = (rows_of(toy, name) for name in TABLES)
    labels = [(row["embedding"], row["max_segment_s"]) for row in table5]
    assert labels == [("CAM++", "60"), ("CAM++", "8"), ("Eres2net", "8"), ("ResNet101", "8")]
    assert [row["tcpwer_published"] for row in table5] == ["24.64", "19.32", "19.27", "18.03"]
    assert len(table7) == 4
    for row in table5:
        assert 0 < float(row["der"]) < 100 and float(row["tcpwer"]) > 0
    for row in table7:
        assert float(row["dev"]) > 0 and float(row["test"]) > 0


def test_segments_are_as_long_as_each_diarizer_has_them(diarized: Any) -> None:
    toy, _ = diarized
    longest = {}
    for file in toy.results.glob("diarization/*/dev/segments.parquet"):
        segments = pq.read_table(file).to_pylist()
        longest[file.parts[-3]] = max(segment["end"] - segment["start"] for segment in segments)
    assert len(longest) == DIARIZED["dev"]
    assert all(longest[name] <= 8 for name in ("campplus-8", "eres2net-8", "resnet101-8"))
    assert longest["campplus-8"] <= longest["campplus-60"] <= 60
    assert longest["resnet101-8"] <= longest["resnet101-8-merged"]
