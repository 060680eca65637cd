"""Tables 5 and 7, the breakdown and the ablation of the toy corpus by hand; counts that disagree are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_queries import changed, make, query

from mlcslm.errors import UserError
from mlcslm.results.comparison import compare_in_database

pytestmark = pytest.mark.slow


def counts_file(inputs: Any, diarizer: str, split: str) -> Path:
    return inputs.folder / f"diarization/{diarizer}/{split}/counts.parquet"


def test_table_5_by_hand(diarization_inputs: Any) -> None:
    rows, page = make(diarization_inputs, "table5")
    assert list(rows[0]) == [
        *("embedding", "max_segment_s", "der", "der_low", "der_high", "der_published"),
        *("tcpwer", "tcpwer_low", "tcpwer_high", "tcpwer_published"),
    ]
    rendered = ("embedding", "max_segment_s", "der", "der_published", "tcpwer", "tcpwer_published")
    # 6 and 3 of 50 seconds, 12 and 6 of 20 tokens
    assert [tuple(row[name] for name in rendered) for row in rows] == [
        ("CAM++", "60", "12.00", "16.71", "60.00", "24.64"),
        ("CAM++", "8", "6.00", "17.28", "30.00", "19.32"),
    ]
    for row in rows:
        for value in ("der", "tcpwer"):
            assert row[f"{value}_low"] == row[f"{value}_high"] == "", "four recordings are too few"
    assert "dev: 4 recordings, 0.0 h of reference speech, 20 reference tokens" in page and "collar 5 s" in page
    assert "the preset has no stage, decoding or diarizer: Eres2net, 8; ResNet101, 8." in page


def test_pages_show_ablation_and_breakdown(diarization_inputs: Any) -> None:
    _, page = make(diarization_inputs, "table5")
    assert "| campplus-8 | num_speakers: 2 | 4.00 | 25.00 | -5.00 |" in page
    _, page = make(diarization_inputs, "table7")
    assert "| campplus-8 | dev | 30.00 | 20.00 | 5.00 | 0.00 | 5.00 | 0.00 | 20.00 | ckpt-7000/greedy |" in page
    assert "merged" not in page


def test_table_7_by_hand(diarization_inputs: Any) -> None:
    rows, _ = make(diarization_inputs, "table7")
    rendered = ("system", "max_segment_s", "dev", "dev_published", "test", "test_published")
    assert [tuple(row[name] for name in rendered) for row in rows] == [
        ("CAM++", "60", "60.00", "24.64", "42.86", "22.39"),
        ("CAM++", "8", "30.00", "19.32", "28.57", "18.34"),
    ]
    assert not any(row["test_low"] or row["test_high"] for row in rows)


def test_missing_counts_name_diarizer_and_split(diarization_inputs: Any) -> None:
    kept = [
        path for path in diarization_inputs.diarization if path != counts_file(diarization_inputs, "campplus-8", "test")
    ]
    with pytest.raises(UserError, match="campplus-8 on test: no scores") as raised:
        make(diarization_inputs, "table7", diarization=kept)
    assert "campplus-60" not in str(raised.value)


def test_a_split_without_transcripts_stays_empty(diarization_inputs: Any, manifest_rows_of: Any) -> None:
    inputs = diarization_inputs.with_manifest("test", [{**row, "text": None} for row in manifest_rows_of("test")])
    rows, page = make(
        inputs,
        "table7",
        diarization=[path for path in inputs.diarization if "test" not in path.parts],
        scores=[path for path in inputs.scores if path.stem == "dev"],
    )
    assert [(row["dev"], row["test"], row["test_published"]) for row in rows][1] == ("30.00", "", "18.34")
    assert "not measured" in page


def test_breakdown_adds_up(diarization_inputs: Any) -> None:
    pooled = (
        "SELECT tcpwer, recognition, missed, false_alarm, confusion, oracle_wer, cost_of_diarization, length "
        "FROM tcpwer_breakdown WHERE split = 'dev' AND grp = 'all' AND system = '{}'"
    )
    # 6 errors of 20 tokens: 4, 1, none and 1; Track 1 has 4.
    assert query(diarization_inputs, pooled.format("campplus-8")) == [(30, 20, 5, 0, 5, 20, 10, 20)]
    assert query(diarization_inputs, pooled.format("campplus-60")) == [(60, 30, 10, 5, 15, 20, 40, 20)]
    rows = query(
        diarization_inputs,
        "SELECT recognition + missed + false_alarm + confusion + timing - tcpwer, "
        "oracle_wer + cost_of_diarization - tcpwer FROM tcpwer_breakdown",
    )
    # (3 groups and all) × (4 diarizers on dev, 2 on test)
    assert len(rows) == 4 * 6 and all(value == pytest.approx(0) for row in rows for value in row)


def test_oracle_is_the_track_1_rate_of_the_same_system(diarization_inputs: Any) -> None:
    rows = query(
        diarization_inputs,
        "SELECT DISTINCT b.oracle_wer, w.wer FROM tcpwer_breakdown AS b JOIN diarizers AS d ON d.diarizer = b.system "
        "JOIN wer_by_system AS w ON w.system = d.system AND w.split = b.split WHERE grp = 'all' ORDER BY ALL",
    )
    assert rows == [(pytest.approx(100 / 7), pytest.approx(100 / 7)), (20.0, 20.0)]


def test_ablation_compares_variants_with_the_diarizer_they_vary(diarization_inputs: Any) -> None:
    rows = query(
        diarization_inputs,
        "SELECT diarizer, change, der, variant_der, tcpwer, variant_tcpwer, tcpwer_change FROM diarization_ablation",
    )
    assert rows == [
        ("campplus-8", "keep_vad_boundaries: false", 6, 8, 30, pytest.approx(40), pytest.approx(10)),
        ("campplus-8", "num_speakers: 2", 6, pytest.approx(4), 30, pytest.approx(25), pytest.approx(-5)),
    ]
    # The variant stands first in the config: its comparison is turned round.
    ends = query(diarization_inputs, "SELECT low, high FROM diarization_ablation WHERE variant = 'campplus-8-merged'")
    stored = "SELECT -high, -low FROM comparisons WHERE measure = 'tcpwer' AND grp = 'all' AND split = 'dev' "
    assert ends == query(diarization_inputs, stored + "AND system_a = 'campplus-8-merged' AND system_b = 'campplus-8'")
    # Of four recordings there is no interval, but a p-value.
    assert ends == [(None, None)] and query(diarization_inputs, "SELECT count(p_value) FROM diarization_ablation") == [
        (2,)
    ]


def test_a_diarizer_without_the_second_pass_is_a_variant(diarization_inputs: Any) -> None:
    diarizers = diarization_inputs.config["diarizers"]
    plain = {**diarizers["campplus-8"], "resegment": False}
    changed = replace(
        diarization_inputs,
        config=diarization_inputs.config | {"diarizers": diarizers | {"campplus-8-merged": plain}},
    )
    assert query(changed, "SELECT diarizer, variant, change FROM diarization_ablation ORDER BY variant") == [
        ("campplus-8", "campplus-8-merged", "resegment: false"),
        ("campplus-8", "campplus-8-two-speakers", "num_speakers: 2"),
    ]
    assert query(changed, "SELECT diarizer FROM diarizers WHERE NOT resegment") == [("campplus-8-merged",)]


def test_diarization_by_system_and_group(diarization_inputs: Any) -> None:
    rows = query(
        diarization_inputs,
        "SELECT der, missed, false_alarm, confusion, tcpwer, cpwer, tcorcwer, recordings, scored_speech, "
        "speakers_right FROM diarization_by_system WHERE system = 'campplus-60' AND split = 'dev'",
    )
    assert rows == [(12, 6, 2, 4, 60, 60, 45, 4, 50, 2)]
    assert query(
        diarization_inputs,
        "SELECT grp, der, tcp_errors, tcp_length FROM diarization_by_group "
        "WHERE system = 'campplus-60' AND split = 'dev' ORDER BY grp",
    ) == [("English-American", 15, 5, 12), ("French", 10, 2, 2), ("Thai", 10, 5, 6)]


def test_diarizers_are_compared_by_recording(diarization_inputs: Any) -> None:
    found = compare_in_database(diarization_inputs.build(), "campplus-60", "campplus-8", split="dev")
    assert list(found["measures"]) == ["tcpwer", "der"]
    pooled = [found["measures"][measure][0] for measure in ("tcpwer", "der")]
    assert [(row["grp"], row["difference"], row["fewer"], row["more"]) for row in pooled] == [
        ("all", pytest.approx(-30), 3, 0),
        ("all", pytest.approx(-6), 3, 0),
    ]
    assert found["changed"][0] == {
        **{"recording": "Thai_01", "grp": "Thai", "length": 6, "errors_a": 5, "errors_b": 2, "change": -3},
    }


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"system": ["other"] * 4}, "4 rows of a diarizer that the config lacks, e.g. other"),
        ({"recording": ["Thai_09"]}, "1 recordings that are no sessions of the manifest of dev, e.g. Thai_09"),
        ({"recording": ["Thai_09"]}, "1 sessions of dev without counts, e.g. American_01"),
        ({"grp": ["French"]}, "1 recordings that are no sessions of the manifest of dev"),
        ({"recording": ["American_02"]}, "rows repeat another's recording, e.g. American_02"),
        ({"tcp_errors": [9]}, "1 rows whose tcp_errors are not the sum of their kinds or of their causes"),
        ({"missed_errors": [2]}, "1 rows whose tcp_errors are not the sum"),
        ({"missed": [-1.0]}, "or negative, e.g. American_01"),
        ({"oracle_errors": [3]}, "1 recordings with other oracle_errors than the system that transcribed has"),
        ({"tcp_length": [7]}, "1 recordings with less reference than in"),
        ({"scored_speech": [9.0]}, "1 recordings with less reference than in"),
    ],
)
def test_counts_that_disagree_are_refused(diarization_inputs: Any, columns: Any, expected: str) -> None:
    path = counts_file(diarization_inputs, "campplus-8", "dev")
    changed(path, **columns)
    with pytest.raises(UserError, match="The files behind diarization_counts do not agree") as raised:
        diarization_inputs.build()
    assert expected in str(raised.value) and str(path) in str(raised.value)


def test_segments_are_there_to_look_at(diarization_inputs: Any) -> None:
    rows = query(
        diarization_inputs,
        'SELECT speaker, "start", "end", transcript FROM diarized_segments '
        "WHERE system = 'campplus-8' AND split = 'dev' AND recording = 'American_01' ORDER BY \"start\"",
    )
    assert rows == [("S1", 0.0, 1.5, "good morning"), ("S2", 1.5, 4.5, None)]
    assert query(diarization_inputs, "SELECT count(*) FROM diarized_segments") == [(4 * 6 + 2 * 3,)]


def test_answers_with_speakers_and_times_are_counted(diarization_inputs: Any) -> None:
    path = diarization_inputs.folder / "diarization/campplus-8/test/hypotheses.parquet"
    answers = path.with_name("answers.parquet")
    rows = [row | {"raw_text": "[0.0"} for row in pq.read_table(path).to_pylist()]
    for row, reason in zip(rows, ("malformed", "length", "malformed"), strict=False):
        row["stop_reason"] = reason
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), answers)
    inputs = replace(diarization_inputs, stretch_answers={("campplus-8", "test"): answers})
    assert query(inputs, "SELECT * EXCLUDE (loops, mean_tokens) FROM stretch_answers_by_system") == [
        ("campplus-8", "test", len(rows), 2, 1)
    ]
    changed(answers, recording=["Thai_01"])
    with pytest.raises(UserError, match="1 segments of recordings that are no sessions"):
        inputs.build()


def test_segments_of_no_session_are_refused(diarization_inputs: Any) -> None:
    path = diarization_inputs.folder / "diarization/campplus-8/test/hypotheses.parquet"
    changed(path, recording=["Thai_01"])
    with pytest.raises(UserError, match=r"1 segments of recordings that are no sessions .* of test, e\.g\. Thai_01"):
        diarization_inputs.build()


def test_another_protocol_alone_is_refused(diarization_inputs: Any) -> None:
    changed(counts_file(diarization_inputs, "campplus-8", "dev"), protocol=["whisper-norm"] * 4)
    with pytest.raises(UserError, match="campplus-8 on dev: found whisper-norm"):
        diarization_inputs.build()
