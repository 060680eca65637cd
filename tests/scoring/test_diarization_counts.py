from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.errors import UserError
from mlcslm.formats.rttm import write_rttm
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.stm import write_stm
from mlcslm.scoring.diarization_counts import DIARIZATION_COUNTS_SCHEMA, write_diarization_counts

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
MANIFEST = [
    # session, group, speaker, start, end, text
    ("American_1", "English-American", "O1", 0.0, 4.0, "A b, c d."),
    ("American_1", "English-American", "O2", 4.0, 6.0, "e f"),
    ("American_1", "English-American", "O2", 20.0, 21.0, "g!"),
    ("Thai_1", "Thai", "O1", 1.0, 2.0, "กข"),
]


class Inputs:
    """The files that a diarizer's errors are counted from, and how to count them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("session_id", "grp", "speaker", "start", "end", "text")
        rows = [dict(zip(names, row, strict=True)) for row in MANIFEST]
        self.manifest = [{"utterance_id": f"u{place}", **row} for place, row in enumerate(rows)]
        self.oracle = [
            {"utterance_id": row["utterance_id"], "session_id": row["session_id"], "protocol": "mlcslm-2025"}
            | {"errors": place, "length": length}
            for place, (row, length) in enumerate(zip(self.manifest, (4, 2, 1, 2), strict=True))
        ]
        self.turns = {"American_1": [Segment(0, 6, "s1"), Segment(12, 14, "s2")]}
        self.said = [
            Utterance("American_1", "s1", 0, 4, "a b x d"),
            Utterance("American_1", "s1", 4, 6, "e f"),
            Utterance("American_1", "s2", 12, 14, "y z"),
        ]

    def write(self, **options: Any) -> list[dict[str, Any]]:
        for name in ("manifest", "oracle"):
            pq.write_table(pa.Table.from_pylist(getattr(self, name)), self.folder / f"{name}.parquet")
        for recording, segments in self.turns.items():
            write_rttm(self.folder / "rttm" / f"{recording}.rttm", {recording: segments})
        write_stm(self.folder / "hypothesis.stm", self.said)
        out = self.folder / "counts.parquet"
        inputs = [self.folder / name for name in ("manifest.parquet", "rttm", "hypothesis.stm", "oracle.parquet")]
        usual = {"system": "campplus-8", "split": "dev", "protocol": "mlcslm-2025", "normalise_hypothesis": False}
        write_diarization_counts(*inputs, out, **(usual | {"languages": LANGUAGES} | options))
        table = pq.read_table(out)
        assert table.schema.equals(DIARIZATION_COUNTS_SCHEMA)
        return table.to_pylist()


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path)


def test_a_row_a_recording_in_the_manifest_s_order(inputs: Inputs, caplog: pytest.LogCaptureFixture):
    american, thai = inputs.write(jobs=2)
    assert american == {
        "system": "campplus-8",
        "split": "dev",
        "protocol": "mlcslm-2025",
        "recording": "American_1",
        "grp": "English-American",
        # O1 0-4 is s1's, O2's 2 s are s1's too, O2's last second is missed and s2's 2 s are false.
        "scored_speech": 7.0,
        "missed": 1.0,
        "false_alarm": 2.0,
        "confusion": 2.0,
        "speakers_reference": 2,
        "speakers_found": 2,
        "tcp_errors": 8,
        "tcp_length": 7,
        "tcp_insertions": 4,
        "tcp_deletions": 3,
        "tcp_substitutions": 1,
        # Without times, y and z may replace two of e, f and g.
        "cp_errors": 6,
        "cp_length": 7,
        "orc_errors": 4,
        "orc_length": 7,
        "timing_errors": 0,
        "confusion_errors": 4,
        "missed_errors": 1,
        "false_alarm_errors": 2,
        "recognition_errors": 1,
        "oracle_errors": 0 + 1 + 2,
        "oracle_length": 7,
        "orc_exact": True,
    }
    assert (thai["recording"], thai["grp"], thai["missed"], thai["speakers_found"]) == ("Thai_1", "Thai", 1.0, 0)
    assert (thai["tcp_deletions"], thai["tcp_length"], thai["missed_errors"], thai["oracle_errors"]) == (2, 2, 2, 3)
    assert (
        sum(
            "no output for 1 of 2 recordings: all their speech counts as missed" in message
            for message in caplog.messages
        )
        == 2
    )


def test_what_does_not_belong_together_is_refused(inputs: Inputs):
    inputs.said.append(Utterance("American_9", "s1", 0, 1, "a"))
    with pytest.raises(UserError, match=r"hypothesis.stm: 1 of 2 recordings have no reference in [\s\S]*American_9"):
        inputs.write()
    inputs.said.pop()
    inputs.turns["American_8"] = [Segment(0, 1, "s1")]
    with pytest.raises(UserError, match=r"rttm: 1 of 2 recordings have no reference in .*manifest[\s\S]*American_8"):
        inputs.write()
    (inputs.folder / "rttm" / "American_8.rttm").unlink()
    del inputs.turns["American_8"]
    with pytest.raises(UserError, match=r"oracle.parquet: found counts of protocol mlcslm-2025, expected whisper-norm"):
        inputs.write(protocol="whisper-norm")
    inputs.oracle[0]["length"] = 5
    with pytest.raises(UserError, match=r"oracle.parquet: found 8 reference tokens in American_1, expected the 7 of"):
        inputs.write()
    inputs.manifest[3]["text"] = None
    with pytest.raises(UserError, match=r"manifest.parquet: cannot score the split[\s\S]*1 of 4 utterances"):
        inputs.write()


def test_missing_files_are_named(inputs: Inputs):
    inputs.turns = {}
    with pytest.raises(UserError, match=r"rttm: no such folder"):
        inputs.write()
    (inputs.folder / "rttm").mkdir()
    assert [row["missed"] for row in inputs.write()] == [7.0, 1.0]
