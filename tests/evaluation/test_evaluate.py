"""External hypotheses against hand-worked counts, in every format that can express them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.errors import FaultyInput, UserError
from mlcslm.evaluation.evaluate import evaluate, read_card
from mlcslm.text.protocols import get_protocol

IDS = [
    "English-American-0517_007-O1-000000-000028",
    "English-American-0517_007-O2-000028-000400",
    "English-American-0517_007-O1-000400-000650",
    "French-0001_001-O1-000050-000200",
    "Thai-0001_002-O2-000100-000200",
]
# Insertions, deletions, substitutions: none; no dash; a word too many; a capital; two characters short, OK is right.
TEXTS = ["hello world", "i'm here at last", "so am i too", "Ça va hein", "ม ok"]
COUNTS = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 2, 0)]
LENGTHS = [2, 5, 3, 3, 4]


def columns(folder: Path, *names: str) -> list[tuple[Any, ...]]:
    table = pq.read_table(folder / "counts.parquet")
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def write_formats(workspace: Any, rows: list[dict[str, Any]]) -> dict[str, tuple[Path, int | None]]:
    """The same five hypotheses in every format of Track 1, with the track to request."""
    given = list(zip(rows, TEXTS, strict=True))
    seglst = [
        {"speaker": row["speaker"], "start_time": row["start"], "end_time": row["end"], "words": text}
        for row, text in given
    ]
    by_id = [{"session_id": row["utterance_id"]} | entry for (row, _), entry in zip(given, seglst, strict=True)]
    by_session = [{"session_id": row["session_id"]} | entry for (row, _), entry in zip(given, seglst, strict=True)]
    cut = [{"audio_filepath": f"a/{row['utterance_id']}.wav", "pred_text": text} for row, text in given]
    whole = [
        {"audio_filepath": row["audio"], "offset": row["start"], "duration": row["end"] - row["start"]}
        | {"text": "not this", "pred_text": text}
        for row, text in given
    ]
    words = [
        f"{row['utterance_id']} 1 {number} 1 {word}"
        for row, text in given
        for number, word in reversed(list(enumerate(text.split())))
    ]
    stm = [f"{row['session_id']} 1 {row['speaker']} {row['start']} {row['end']} {text}" for row, text in given]
    return {
        "kaldi": (workspace.write("text", "".join(f"{row['utterance_id']} {text}\n" for row, text in given)), None),
        "seglst": (workspace.write("ids.json", json.dumps(by_id)), None),
        "seglst of sessions": (workspace.write("sessions.json", json.dumps(by_session)), 1),
        "nemo": (workspace.write("cut.jsonl", "\n".join(map(json.dumps, cut))), None),
        "nemo with offsets": (workspace.write("whole.jsonl", "\n".join(map(json.dumps, whole))), None),
        "ctm": (workspace.write("words.ctm", "\n".join(words)), None),
        "stm": (workspace.write("segments.stm", "\n".join(stm)), 1),
    }


@pytest.mark.slow
def test_the_same_hypotheses_score_the_same_in_every_format(workspace: Any, rows_of: Any) -> None:
    rows = rows_of()
    assert [row["utterance_id"] for row in rows] == IDS
    for name, (path, track) in write_formats(workspace, rows).items():
        folder = workspace.layout.external("theirs", "dev")
        card = evaluate(workspace.request(path, track=track), folder)
        assert (card["track"], card["missing"], card["unknown"]) == (1, [], []), name
        assert columns(folder, "insertions", "deletions", "substitutions") == COUNTS, name
        assert columns(folder, "utterance_id", "length") == list(zip(IDS, LENGTHS, strict=True)), name
        assert read_card(folder) == json.loads(json.dumps(card))


def test_other_protocols_stand_beside_the_results_own(workspace: Any, rows_of: Any) -> None:
    names = ("mlcslm-2025", "mlcslm-2025+normalised-hypothesis")
    path, _ = write_formats(workspace, rows_of())["kaldi"]
    folder = workspace.layout.external("theirs", "dev")
    evaluate(workspace.request(path, protocols=tuple(map(get_protocol, names))), folder)
    found = columns(folder, "protocol", "utterance_id", "substitutions")
    assert [(name, uid) for name, uid, _ in found] == [(name, uid) for name in names for uid in IDS]
    assert [count for name, uid, count in found if uid.startswith("French")] == [1, 0]


def test_missing_ones_count_as_deleted_and_are_listed(workspace: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = workspace.write("text", f"{IDS[0]} hello world\n{IDS[3]}\n")
    folder = workspace.layout.external("theirs", "dev")
    card = evaluate(workspace.request(path), folder)
    assert card["missing"] == [IDS[1], IDS[2], IDS[4]]
    assert columns(folder, "deletions") == [(0,), (5,), (3,), (3,), (4,)]
    assert f"no hypothesis for 3 of 5 utterances: all their words count as deleted:\n  {IDS[1]}" in caplog.text


def test_unknown_ids_are_listed_with_the_nearest_and_nothing_is_written(workspace: Any) -> None:
    wrong = IDS[3].replace("French", "Frensh")
    path = workspace.write("text", f"{IDS[0]} hello world\n{wrong} ça va\n")
    folder = workspace.layout.external("theirs", "dev")
    with pytest.raises(FaultyInput) as caught:
        evaluate(workspace.request(path), folder)
    assert f"{wrong}: not among the references; nearest: {IDS[3]}" in caught.value.faults
    assert "4 of the 5 references have no hypothesis:" in caught.value.faults
    assert f"{IDS[3]}: no hypothesis; nearest of yours: {wrong}" in caught.value.faults
    assert not folder.exists()
    card = evaluate(workspace.request(path, skip_unknown=True), folder)
    assert (card["unknown"], len(card["missing"])) == ([wrong], 4)
    with pytest.raises(FaultyInput, match="1 of 1 utterances have no reference; correct them"):
        evaluate(workspace.request(workspace.write("text", f"{wrong} ça va\n"), skip_unknown=True), folder)


def test_segments_that_are_no_utterance_are_named_as_one_would_be(workspace: Any) -> None:
    path = workspace.write("a.stm", "American_0517_007 1 O1 4.25 6.5 so am i\nAmerican_0517_009 1 O1 0 1 who\n")
    with pytest.raises(FaultyInput) as caught:
        evaluate(workspace.request(path, track=1), workspace.layout.external("theirs", "dev"))
    near = "English-American-0517_007-O1-000425-000650: not among the references; nearest: " + IDS[2]
    assert near in caught.value.faults
    assert any(
        fault.startswith("American_0517_009-O1-000000-000100: not among the references")
        for fault in caught.value.faults
    )


def test_an_offset_that_fits_two_speakers_needs_one(workspaces: Any, rows_of: Any, tmp_path: Path) -> None:
    spoken = [("French", "1", speaker, 1.0, 2.0, "oui") for speaker in ("O1", "O2")]
    workspace = workspaces(tmp_path, rows_of(spoken))
    line = {"audio_filepath": "1.wav", "offset": 1, "duration": 1, "pred_text": "oui"}
    with pytest.raises(FaultyInput, match="fits French-1-O1-000100-000200 and French-1-O2-000100-000200"):
        evaluate(workspace.request(workspace.write("a.jsonl", json.dumps(line))), tmp_path / "out")
    evaluate(workspace.request(workspace.write("a.jsonl", json.dumps(line | {"speaker": "O2"}))), tmp_path / "out")
    assert columns(tmp_path / "out", "deletions") == [(1,), (0,)]


def test_recordings_give_tcpwer_and_der_with_their_own_speakers(workspace: Any) -> None:
    stm = workspace.write(
        "a.stm",
        "American_0517_007 1 spk-b 0.29 4 i'm here at last\nAmerican_0517_007 1 spk-a 4 6.5 so am i too\n"
        "French_0001_001 1 x 0.5 2 ça va hein\n",
    )
    folder = workspace.layout.external("theirs", "dev")
    card = evaluate(workspace.request(stm), folder)
    assert (card["track"], card["missing"]) == (2, ["Thai_0001_002"])
    # The first English utterance is missed: two words and 0.29 s; then a dash, and a word too many.
    found = columns(folder, "recording", "tcp_errors", "tcp_length", "tcp_insertions", "tcp_deletions", "oracle_errors")
    assert found == [
        ("American_0517_007", 4, 10, 1, 3, None),
        ("French_0001_001", 0, 3, 0, 0, None),
        ("Thai_0001_002", 4, 4, 0, 4, None),
    ]
    seconds = columns(folder, "missed", "false_alarm", "confusion")
    assert seconds == [pytest.approx(row) for row in ((0.29, 0, 0), (0, 0, 0), (1, 0, 0))]


def test_turns_of_their_own_are_what_der_is_of(workspace: Any) -> None:
    stm = workspace.write("a.stm", "French_0001_001 1 x 0.5 2 ça va hein\n")
    rttm = workspace.write("a.rttm", "SPEAKER French_0001_001 1 0.5 1 <NA> <NA> x <NA> <NA>\n")
    folder = workspace.layout.external("theirs", "dev")
    evaluate(workspace.request(stm, rttm), folder)
    both = {row[0]: row[1:] for row in columns(folder, "recording", "missed", "tcp_errors")}
    assert both["French_0001_001"] == (pytest.approx(0.5), 0)
    evaluate(workspace.request(rttm), folder)
    alone = {row[0]: row[1:] for row in columns(folder, "recording", "missed", "tcp_errors")}
    assert alone["French_0001_001"] == (pytest.approx(0.5), None)


def test_the_words_of_a_ctm_count_where_they_are_said(workspace: Any) -> None:
    """Far from its utterance's middle, a word is matched only by its own time."""
    words = "French_0001_001 1 0.5 0.5 ça\nFrench_0001_001 1 1 0.5 va\nFrench_0001_001 1 30 0.5 hein\n"
    folder = workspace.layout.external("theirs", "dev")
    evaluate(workspace.request(workspace.write("a.ctm", words)), folder)
    found = {row[0]: row[1:] for row in columns(folder, "recording", "tcp_insertions", "tcp_deletions")}
    assert found["French_0001_001"] == (1, 1)


def test_files_of_the_other_track_are_refused(workspace: Any) -> None:
    text, rttm = (
        workspace.write("text", f"{IDS[0]} a\n"),
        workspace.write("a.rttm", "SPEAKER x 1 0 1 <NA> <NA> x <NA> <NA>\n"),
    )
    with pytest.raises(UserError, match="which Track 1 does not use"):
        evaluate(workspace.request(text, rttm), workspace.layout.external("theirs", "dev"))
    with pytest.raises(UserError, match="expected STM, SegLST, CTM or RTTM on Track 2"):
        evaluate(workspace.request(text, track=2), workspace.layout.external("theirs", "dev"))
    with pytest.raises(FaultyInput, match="x: not among the references"):
        evaluate(workspace.request(rttm), workspace.layout.external("theirs", "dev"))


def test_hostile_texts_are_text_in_every_format(workspace: Any, rows_of: Any) -> None:
    texts = [
        "<script>alert(1)</script>",
        '=HYPERLINK("http://example.org")',
        "'; DROP TABLE utterances; --",
        "\u200fseen from the right\u202e {}",
        "ก\u2028ok \\ \x1b[2J",
    ]
    given = list(zip(rows_of(), texts, strict=True))
    whole = {"start_time": 0, "end_time": 1, "speaker": "s"}
    files = {
        "text": "".join(f"{row['utterance_id']} {text}\n" for row, text in given),
        "seglst.json": json.dumps([whole | {"session_id": row["utterance_id"], "words": text} for row, text in given]),
        "nemo.json": "\n".join(json.dumps({"id": row["utterance_id"], "pred_text": text}) for row, text in given),
    }
    folder, found = workspace.layout.external("theirs", "dev"), []
    for name, content in files.items():
        evaluate(workspace.request(workspace.write(name, content)), folder)
        assert pq.read_table(folder / "hypotheses.parquet")["transcript"].to_pylist() == texts, name
        found.append(columns(folder, "insertions", "deletions", "substitutions"))
    assert found[0] == found[1] == found[2]


SAME_NAME = [
    ("French", "0001", "O1", 0.5, 2.0, "bonjour"),
    ("French", "0001", "O2", 2.5, 4.0, "oui"),
    ("English-American", "0001", "O1", 0.5, 2.0, "hello"),
    ("English-American", "0001", "O2", 2.0, 4.0, "yes"),
]


def nemo_line(audio: str, start: float, end: float, text: str, **more: str) -> str:
    return json.dumps({"audio_filepath": audio, "offset": start, "duration": end - start, "pred_text": text} | more)


@pytest.mark.parametrize("root", ["/data/dev/", "", "D:\\\\corpus\\\\"])
def test_a_file_s_name_alone_is_no_identity(workspaces: Any, rows_of: Any, tmp_path: Path, root: str) -> None:
    workspace = workspaces(tmp_path, rows_of(SAME_NAME))
    lines = [
        nemo_line(f"{root}{folder}/0001.wav", start, end, text)
        for folder, start, end, text in (
            ("French", 0.5, 2.0, "bonjour"),
            ("English/American", 0.5, 2.0, "hello"),
            ("English/American", 2.0, 4.0, "yes"),
        )
    ]
    evaluate(workspace.request(workspace.write("a.json", "\n".join(lines))), tmp_path / "out")
    assert columns(tmp_path / "out", "deletions", "substitutions") == [(0, 0), (1, 0), (0, 0), (0, 0)]


def test_a_line_of_another_group_s_file_is_not_scored_as_ours(workspaces: Any, rows_of: Any, tmp_path: Path) -> None:
    workspace = workspaces(tmp_path, rows_of(SAME_NAME))
    of_french = workspace.write("a.json", nemo_line("/data/dev/French/0001.wav", 2.0, 4.0, "oui"))
    with pytest.raises(FaultyInput, match=r"French-0001-[?]-000200-000400: not among the references"):
        evaluate(workspace.request(of_french), tmp_path / "out")
    # Italian is a group of the sheet, though not of this manifest.
    of_italian = workspace.write("b.json", nemo_line("/data/Italian/0001.wav", 0.5, 2.0, "ciao"))
    with pytest.raises(FaultyInput, match="not among the references"):
        evaluate(workspace.request(of_italian), tmp_path / "out")


def test_a_name_that_two_recordings_have_is_refused(workspaces: Any, rows_of: Any, tmp_path: Path) -> None:
    workspace = workspaces(tmp_path, rows_of(SAME_NAME))
    files = {
        "a.json": nemo_line("0001.wav", 2.0, 4.0, "yes", speaker="O2"),
        "a.stm": "0001 1 O2 2.0 4.0 yes\n",
    }
    for name, content in files.items():
        with pytest.raises(FaultyInput, match="may be French_0001 or American_0001, whose files share a name"):
            evaluate(workspace.request(workspace.write(name, content), track=1), tmp_path / "out")
    by_recording = workspace.write("b.stm", "American_0001 1 O2 2.0 4.0 yes\n")
    evaluate(workspace.request(by_recording, track=1), tmp_path / "out")
    assert columns(tmp_path / "out", "deletions") == [(1,), (1,), (1,), (0,)]


def test_what_is_not_scored_and_what_surprises_is_said(workspace: Any, caplog: pytest.LogCaptureFixture) -> None:
    stm = workspace.write("a.stm", "French_0001_001 1 x 0.5 2 <o,f0,male> Ça va, hein\nFrench_0001_001 1 x 2 3 <NA>\n")
    card = evaluate(workspace.request(stm), workspace.layout.external("theirs", "dev"))
    assert card["notes"] == [f"{stm}: removed 2 labels such as <o,f0,male>"]
    # Ça and "va," are errors, 2 of 17 beside the 14 words that are missing.
    assert card["with_normalised_hypotheses"]["errors"] == 14
    assert "2 of 16 errors are capitals or punctuation" in caplog.text
    text = workspace.write("text", f"{IDS[0]} Hello, world!\n")
    assert (
        evaluate(workspace.request(text), workspace.layout.external("b", "dev"))["with_normalised_hypotheses"]["errors"]
        == 15
    )


def test_speakers_that_two_files_have_are_refused(workspace: Any) -> None:
    one, two = (workspace.write(name, "French_0001_001 1 x 0.5 2 ça\n") for name in ("a.stm", "b.stm"))
    with pytest.raises(FaultyInput, match=r"b.stm: found 1 speaker[\s\S]*French_0001_001 x: already in .*a.stm"):
        evaluate(workspace.request(one, two), workspace.layout.external("theirs", "dev"))
