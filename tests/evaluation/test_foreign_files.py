"""Files of other tools through `evaluate`: matched by session, by its audio file's name, or by utterance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlcslm.errors import UserError
from mlcslm.evaluation.evaluate import score_system, write_system
from mlcslm.evaluation.external_hypotheses import load_external
from mlcslm.formats.segments import Segment
from mlcslm.results.alignments import export_alignments
from mlcslm.results.evaluate_external import join_results


def whisper(rows: list[dict[str, Any]], **more: Any) -> dict[str, list[dict[str, Any]]]:
    """Whisper's JSON of each session, by the name of its audio file."""
    files: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        entry = {"start": row["start"], "end": row["end"], "text": row["text"]}
        files.setdefault(Path(row["audio"]).stem, []).append(entry | {name: row[key] for name, key in more.items()})
    return files


def write(workspace: Any, files: dict[str, list[dict[str, Any]]]) -> Path:
    folder = workspace.root / "out"
    folder.mkdir()
    for name, segments in files.items():
        (folder / f"{name}.json").write_text(json.dumps({"text": "", "segments": segments}), encoding="utf-8")
    return folder


def test_a_file_for_each_session_is_of_track_2(workspace: Any, rows_of: Any) -> None:
    rows = rows_of()
    loaded = load_external(workspace.request(write(workspace, whisper(rows, speaker="speaker"))))
    assert loaded.track == 2 and not loaded.missing and not loaded.unknown
    assert loaded.transcripts is not None and set(loaded.transcripts) == {row["session_id"] for row in rows}
    spoken = [(u.speaker, u.start, u.end, u.text) for u in loaded.transcripts["American_0517_007"]]
    assert spoken == [(r["speaker"], r["start"], r["end"], r["text"]) for r in rows if "0517" in r["session_id"]]


def test_segments_are_utterances_on_track_1_with_or_without_speakers(workspace: Any, rows_of: Any) -> None:
    rows = rows_of()
    loaded = load_external(workspace.request(write(workspace, whisper(rows)), track=1))
    assert loaded.texts == {row["utterance_id"]: row["text"] for row in rows}


def test_texts_by_id(workspace: Any, rows_of: Any) -> None:
    texts = {row["utterance_id"]: row["text"] for row in rows_of()}
    for content in (texts, [{"id": name, "prediction": text} for name, text in texts.items()]):
        loaded = load_external(workspace.request(workspace.write("hyp.json", json.dumps(content))))
        assert (loaded.track, loaded.texts) == (1, texts)


def test_diarizations_are_turns(workspace: Any) -> None:
    path = workspace.write("0001_001.json", json.dumps({"diarization": [{"start": 0.5, "end": 1.5, "speaker": "S 0"}]}))
    loaded = load_external(workspace.request(path))
    assert loaded.transcripts is None
    assert loaded.turns == {"French_0001_001": [Segment(0.5, 1.5, "S_0")]}


def test_other_json_is_described(workspace: Any) -> None:
    path = workspace.write("hyp.json", json.dumps({"monologues": [{"elements": []}]}))
    with pytest.raises(UserError, match=r"looks like a JSON object with the keys 'monologues'\. Expected JSON with"):
        load_external(workspace.request(path))


@pytest.mark.parametrize("prefix", ["", "French_"], ids=["audio file's name", "session's name"])
def test_white_space_in_names_is_that_of_the_reference(
    workspaces: Any, rows_of: Any, tmp_path: Path, prefix: str
) -> None:
    """Ids have it percent-encoded; other tools name their files like the recordings."""
    name = "; rm -rf $HOME (1)"
    rows = rows_of([("French", name, speaker, n, n + 0.9, f"voix {n}") for n, speaker in enumerate(["O1", "O2"])])
    workspace = workspaces(tmp_path, rows)
    given = write(workspace, {f"{prefix}{name}": whisper(rows)[name]})
    loaded = load_external(workspace.request(given))
    session = "French_;%20rm%20-rf%20$HOME%20(1)"
    assert loaded.transcripts is not None and list(loaded.transcripts) == [session]
    assert {one.recording for one in loaded.transcripts[session]} == {session}  # as it is written again
    write_system(score_system(workspace.request(given)), tmp_path / "system")
    written = (tmp_path / "system" / "hypothesis.stm").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in written] == [session] * 2
    texts = {row["utterance_id"]: row["text"] for row in rows}
    assert load_external(workspace.request(given, track=1)).texts == texts
    raw = {name.replace("%20", " "): text for name, text in texts.items()}
    assert load_external(workspace.request(workspace.write("hyp.json", json.dumps(raw)))).texts == texts


def test_a_system_of_recordings_has_no_alignments_of_utterances(workspace: Any, tmp_path: Path) -> None:
    given = workspace.write("theirs.stm", "French_0001_001 1 x 0.5 2 ça va hein\n")
    join_results(workspace.config, workspace.layout, workspace.request(given))
    database = workspace.root / "results" / "results.duckdb"
    with pytest.raises(UserError, match=r"theirs was scored by recording \(Track 2\).* --track 1"):
        export_alignments(database, "theirs", tmp_path / "alignments", split="dev")
    with pytest.raises(UserError, match="no scores of nobody on dev"):
        export_alignments(database, "nobody", tmp_path / "alignments", split="dev")
