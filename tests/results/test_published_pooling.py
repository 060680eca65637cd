"""The challenge's published counts through the database: the headline numbers of both tracks must come out."""

from __future__ import annotations

import csv
import gzip
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mlcslm.results.database import SystemRow, open_database

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MLCSLM_SHARED", ROOT.parent / "shared"))
PUBLISHED = SHARED / "published/mlcslm_dev_baseline_qwen_wer.csv.gz"
PUBLISHED_TCPWER = SHARED / "published/mlcslm_dev_baseline_tcpwer.csv.gz"
ENGLISH = ("American", "Australian", "British", "Filipino", "Indian")
COUNTS = ("length", "errors", "insertions", "deletions", "substitutions")


@pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"{PUBLISHED} is not here")
def test_published_baseline_pools_to_its_published_rate(inputs: Any) -> None:
    manifest, counts = [], []
    with gzip.open(PUBLISHED, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            group, utterance_id = row["group"], row["utterance_id"]
            session, speaker, start, end = utterance_id.removeprefix(f"{group}-").rsplit("-", 3)
            shared = {
                "utterance_id": utterance_id,
                "session_id": f"{group.removeprefix('English-')}_{session}",
                "grp": group,
            }
            times = {"start": int(start) / 100, "end": int(end) / 100}
            manifest.append(
                {**shared, "speaker": speaker, "turn": 0, **times, "audio": "", "sample_rate": 16000, "text": ""}
            )
            counted = {name: int(row[name]) for name in COUNTS}
            counts.append(
                {"system": "baseline-2/greedy", "split": "dev", "protocol": "mlcslm-2025", **shared, **counted}
            )
    inputs.with_manifest("dev", manifest).with_counts("baseline-2/greedy", "dev", counts)
    database = inputs.build(
        manifests={"dev": inputs.manifests["dev"]},
        scores=[inputs.folder / "scores/baseline-2/greedy/dev.parquet"],
        hypotheses={},
        systems=[SystemRow("baseline-2", "greedy")],
    )
    with open_database(database) as connection:
        ((wer, published, low, high),) = connection.execute(
            "SELECT dev, dev_published, dev_low, dev_high FROM table6 WHERE checkpoint = 'baseline'"
        ).fetchall()
        assert wer == published == Decimal("21.49") and low < wer < high
        pooled = "SELECT errors, length, utterances, sessions FROM wer_by_system"
        assert connection.execute(pooled).fetchall() == [(95_517, 444_467, 29_952, 110)]
        assert connection.execute("SELECT round(avg(wer), 2), count(*) FROM wer_by_group").fetchall() == [(20.62, 15)]
        run_ons = "SELECT count(*) FROM primary_counts WHERE insertions >= 50"
        assert connection.execute(run_ons).fetchall() == [(63,)]


@pytest.mark.skipif(not PUBLISHED_TCPWER.is_file(), reason=f"{PUBLISHED_TCPWER} is not here")
def test_published_baseline_of_track_2_pools_to_its_published_rate(inputs: Any) -> None:
    manifest, counts = [], []
    kinds = ("insertions", "deletions", "substitutions")
    with gzip.open(PUBLISHED_TCPWER, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            group, recording = row["group"], row["recording_id"]
            group = f"English-{group}" if group in ENGLISH else group
            errors, length = int(row["errors"]), int(row["length"])
            manifest.append(
                {
                    **{"utterance_id": recording, "session_id": recording, "grp": group, "speaker": "O1", "turn": 0},
                    **{"start": 0.0, "end": 1.0, "audio": "", "sample_rate": 16000, "text": ""},
                }
            )
            counts.append(
                {
                    **{"system": "baseline", "split": "dev", "protocol": "mlcslm-2025", "recording": recording},
                    **{"grp": group, "scored_speech": 1.0, "missed": 0.0, "false_alarm": 0.0, "confusion": 0.0},
                    **{"speakers_reference": 2, "speakers_found": 2, "tcp_errors": errors, "tcp_length": length},
                    **{f"tcp_{kind}": int(row[kind]) for kind in kinds},
                    **{"cp_errors": 0, "cp_length": length, "orc_errors": errors, "orc_length": length},
                    **{"confusion_errors": 0, "missed_errors": 0, "false_alarm_errors": 0},
                    **{"recognition_errors": errors, "oracle_errors": 0, "oracle_length": length, "orc_exact": True},
                }
            )
    path = inputs.folder / "diarization/baseline/dev/counts.parquet"
    inputs.with_manifest("dev", manifest).with_diarization("baseline", "dev", counts)
    diarizer = {"embedding": "any", "asr": {"checkpoint": "baseline-2", "decoding": "greedy"}}
    embedding = {"network": "campplus", "checkpoint": "public"}
    database = inputs.build(
        manifests={"dev": inputs.manifests["dev"]},
        scores=[],
        hypotheses={},
        diarization=[path],
        config=inputs.config | {"embeddings": {"any": embedding}, "diarizers": {"baseline": diarizer}},
    )
    with open_database(database) as connection:
        ((rate, published, low, high),) = connection.execute(
            "SELECT dev, dev_published, dev_low, dev_high FROM table7"
        ).fetchall()
        assert rate == published == Decimal("76.12") and low < rate < high
        assert connection.execute("SELECT sum(recordings) FROM diarization_by_group").fetchall() == [(110,)]
