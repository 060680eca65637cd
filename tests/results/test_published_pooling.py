"""The challenge's published counts through the database: the headline numbers of both tracks must come out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mlcslm.results.database import SystemRow, open_database

COUNTS = ("length", "errors", "insertions", "deletions", "substitutions")


def manifest_row(group: str) -> dict[str, Any]:
    """One utterance that stands for all of a group, whose counts are the group's sums."""
    return {
        **{"utterance_id": f"{group}-0001_001-O1-000000-000100", "session_id": f"{group}_0001_001", "grp": group},
        **{"speaker": "O1", "turn": 0, "start": 0.0, "end": 1.0, "audio": "", "sample_rate": 16000, "text": ""},
    }


def test_published_baseline_pools_to_its_published_rate(inputs: Any, published_sums: Any) -> None:
    groups = published_sums(track=1)
    manifest = [manifest_row(row["group"]) for row in groups]
    counts = [
        {
            **{"system": "baseline-2/greedy", "split": "dev", "protocol": "mlcslm-2025"},
            **{name: utterance[name] for name in ("utterance_id", "session_id", "grp")},
            **{name: row[name] for name in COUNTS},
        }
        for row, utterance in zip(groups, manifest, strict=True)
    ]
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
        # One session stands for each group: how others of the group would differ is unknown.
        assert wer == published == Decimal("21.49") and low is high is None
        pooled = "SELECT errors, length, utterances, sessions FROM wer_by_system"
        assert connection.execute(pooled).fetchall() == [(95_517, 444_467, 15, 15)]
        # What it would be if groups were averaged instead of pooled.
        assert connection.execute("SELECT round(avg(wer), 2), count(*) FROM wer_by_group").fetchall() == [(20.62, 15)]


def test_published_baseline_of_track_2_pools_to_its_published_rate(inputs: Any, published_sums: Any) -> None:
    groups = published_sums(track=2)
    manifest = [manifest_row(row["group"]) for row in groups]
    counts = []
    for row, utterance in zip(groups, manifest, strict=True):
        errors, length = row["errors"], row["length"]
        counts.append(
            {
                **{"system": "baseline", "split": "dev", "protocol": "mlcslm-2025"},
                **{"recording": utterance["session_id"], "grp": row["group"]},
                **{"scored_speech": 1.0, "missed": 0.0, "false_alarm": 0.0, "confusion": 0.0},
                **{"speakers_reference": 2, "speakers_found": 2, "tcp_errors": errors, "tcp_length": length},
                **{f"tcp_{kind}": row[kind] for kind in ("insertions", "deletions", "substitutions")},
                **{"cp_errors": 0, "cp_length": length, "orc_errors": errors, "orc_length": length},
                **{"timing_errors": 0, "confusion_errors": 0, "missed_errors": 0, "false_alarm_errors": 0},
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
        assert rate == published == Decimal("76.12") and low is high is None
        assert connection.execute("SELECT sum(recordings) FROM diarization_by_group").fetchall() == [(15,)]
