"""Submissions scored by the challenge's rules, reimplemented here, give the database's counts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from meeteval.io.stm import STM
from meeteval.wer.wer.siso import siso_word_error_rate
from meeteval.wer.wer.time_constrained import tcp_word_error_rate

from mlcslm.config.languages import read_languages
from mlcslm.corpus.manifest import read_corpus, write_manifest
from mlcslm.diarization.pipeline import Diarizer, diarize_manifest
from mlcslm.errors import UserError
from mlcslm.evaluation import submission as submissions
from mlcslm.evaluation.external_hypotheses import load_external
from mlcslm.evaluation.submission import Submission, write_submission, write_track_1, write_track_2
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.results.database import open_database
from mlcslm.results.evaluate_external import join_results
from mlcslm.text.protocols import get_protocol
from mlcslm.workflow.layout import Layout

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
PUNCTUATION = re.compile(r"""[!"#$%&()*+,./:;<=>?@\[\\\]^_`{|}~\u3002\u3001\uff1f\uff01\u30fb\u00bf\u00a1\uff0c]""")
THAI = re.compile("([\u0e00-\u0e7f])")
SPOKEN = [
    ("English-American", "0517_007", "O1", 0.0, 0.29, "Hello, world!"),
    ("English-American", "0517_007", "O2", 0.29, 4.0, "'; DROP TABLE utterances; --"),
    ("French", "0001_001", "O1", 0.5, 2.0, "Ça va, hein ?"),
    ("French", "0001_001", "O2", 2.0, 3.0, "=HYPERLINK(oui)"),
    ("Thai", "0001_002", "O2", 1.0, 2.0, "ไม่ OK"),
    ("Thai", "0001_002", "O1", 2.0, 4.0, "ครับ ครับ"),
]
TEXTS = ["hello  word", "drop\u2028table Utterances -- --", "", "hyperlinkoui !", "ไมOK ok", "ครับครับ ค"]


def official(text: str, group: str) -> str:
    """Step 2: characters separated in Japanese, Korean and Thai; spaces collapsed."""
    return " ".join((THAI.sub(r" \1 ", text) if group == "Thai" else text).split())


def official_reference(text: str, group: str) -> str:
    """Steps 1 and 2."""
    return official(PUNCTUATION.sub("", text.lower()), group)


def stm_line(row: dict[str, Any]) -> str:
    """A reference as in the challenge's STM."""
    text = official_reference(row["text"], row["grp"])
    return f"{row['session_id']} 1 {row['speaker']} {row['start']!r} {row['end']!r} {text}"


@pytest.fixture
def workspace(workspaces: Any, rows_of: Any, tmp_path: Path) -> Any:
    return workspaces(tmp_path, rows_of(SPOKEN))


def submission(workspace: Any, name: str, **changes: Any) -> Submission:
    usual = {
        "system": "theirs",
        "split": "dev",
        "manifest": workspace.layout.manifest("dev"),
        "languages": Path(workspace.config.languages),
        "protocol": get_protocol("mlcslm-2025"),
        "out": workspace.root / "submissions" / name,
    }
    return Submission(**(usual | changes))


@pytest.mark.slow
def test_track_1_by_the_official_rules_gives_the_databases_counts(workspace: Any, rows_of: Any) -> None:
    rows = rows_of(SPOKEN)
    text = workspace.write("text", "".join(f"{r['utterance_id']} {t}\n" for r, t in zip(rows, TEXTS, strict=True)))
    request = workspace.request(text)
    database = Path(join_results(workspace.config, workspace.layout, request)["database"])
    submitted = submission(workspace, "track1.txt")
    found = write_track_1(submitted, load_external(request).texts)
    lines = submitted.out.read_text(encoding="utf-8").split("\n")
    assert lines[1] == f"{rows[1]['utterance_id']} drop table Utterances -- --"
    assert lines[2] == rows[2]["utterance_id"]
    assert lines[4] == f"{rows[4]['utterance_id']} ไ ม OK ok"
    counted = []
    for row, line in zip(rows, lines, strict=False):
        name, _, hypothesis = line.partition(" ")
        rate = siso_word_error_rate(official_reference(row["text"], row["grp"]), official(hypothesis, row["grp"]))
        counted.append((name, rate.errors, rate.length, rate.insertions, rate.deletions, rate.substitutions))
    with open_database(database) as connection:
        in_database = connection.execute(
            "SELECT utterance_id, errors, length, insertions, deletions, substitutions FROM asr_counts ORDER BY rowid"
        ).fetchall()
    assert counted == in_database
    assert (found["errors"], found["length"]) == (sum(row[1] for row in counted), sum(row[2] for row in counted))
    assert json.loads(submitted.out.with_suffix(".json").read_text()) == found


def test_what_was_evaluated_by_command_can_be_submitted(workspace: Any, rows_of: Any) -> None:
    rows = rows_of(SPOKEN)
    text = "".join(f"{r['utterance_id']} {t}\n" for r, t in zip(rows[1:], TEXTS[1:], strict=True))
    stm = "".join(
        f"{row['session_id']} 1 {row['speaker']} {row['start']} {row['end']} {' '.join(text.split())}\n"
        for row, text in zip(rows, TEXTS, strict=True)
    )
    requests = {
        1: workspace.request(workspace.write("text", text), name="texts"),
        2: workspace.request(workspace.write("a.stm", stm), name="turns"),
    }
    for track, request in requests.items():
        join_results(workspace.config, workspace.layout, request)
        layout = Layout(workspace.config)
        assert layout.submitting(track)[-1] == request.name and request.name not in layout.submitting(3 - track)
        out = workspace.root / "submissions" / f"track{track}"
        found = write_submission(workspace.config, layout, request.name, "dev", track, out, jobs=1)
        directly, loaded = submission(workspace, f"{track}", system=request.name), load_external(request)
        if track == 1:
            expected = write_track_1(directly, loaded.texts)
            assert found["missing"] == [rows[0]["utterance_id"]]
        else:
            expected = write_track_2(directly, [one for spoken in loaded.transcripts.values() for one in spoken])
        assert found == expected
        assert out.read_bytes() == directly.out.read_bytes()


@pytest.mark.slow
def test_track_2_by_the_official_rules_gives_the_databases_counts(workspace: Any, rows_of: Any) -> None:
    rows = rows_of(SPOKEN)
    segments = [
        f"{row['session_id']} 1 s{number % 2} {row['start'] + 0.1:.3f} {row['end']} {' '.join(text.split())}\n"
        for number, (row, text) in enumerate(zip(rows, TEXTS, strict=True))
    ]
    request = workspace.request(workspace.write("a.stm", "".join(segments)))
    database = Path(join_results(workspace.config, workspace.layout, request)["database"])
    submitted = submission(workspace, "track2.stm")
    utterances = [u for spoken in (load_external(request).transcripts or {}).values() for u in spoken]
    found = write_track_2(submitted, reversed(utterances))
    spoken = [(*(row[key] for key in ("session_id", "speaker", "start", "end", "text")), row["grp"]) for row in rows]
    lines = [
        f"{name} 1 {who} {a!r} {b!r} {official_reference(text, group)}\n" for name, who, a, b, text, group in spoken
    ]
    reference = STM.parse("".join(lines))
    hypothesis = STM.load(submitted.out)
    counted = []
    for recording in dict.fromkeys(row["session_id"] for row in rows):
        sides = [STM([line for line in side if line.filename == recording]) for side in (reference, hypothesis)]
        rate = tcp_word_error_rate(*sides, collar=5)
        counted.append((recording, rate.errors, rate.length, rate.insertions, rate.deletions, rate.substitutions))
    with open_database(database) as connection:
        in_database = connection.execute(
            "SELECT recording, tcp_errors, tcp_length, tcp_insertions, tcp_deletions, tcp_substitutions "
            "FROM diarization_counts ORDER BY rowid"
        ).fetchall()
    assert counted == in_database
    assert (found["errors"], found["entries"]) == (sum(row[1] for row in counted), len(SPOKEN))


def test_normalised_hypotheses_are_submitted_normalised(workspace: Any, rows_of: Any) -> None:
    name = rows_of(SPOKEN)[0]["utterance_id"]
    submitted = submission(workspace, "track1.txt", protocol=get_protocol("mlcslm-2025", True))
    write_track_1(submitted, {name: "Hello, World!"})
    assert submitted.out.read_text().splitlines()[0] == f"{name} hello world"
    plain = submission(workspace, "track1.txt", protocol=get_protocol("whisper-norm"))
    found = write_track_1(plain, {name: "Hello, World!"})
    assert plain.out.read_text().splitlines()[0] == f"{name} Hello, World!"
    assert (found["protocol"], len(found["missing"])) == ("mlcslm-2025", 5)


def test_a_set_without_transcripts_is_submitted_unscored(workspaces: Any, rows_of: Any, tmp_path: Path) -> None:
    workspace = workspaces(tmp_path, [row | {"text": None} for row in rows_of(SPOKEN)])
    assert "errors" not in write_track_1(submission(workspace, "track1.txt"), {})
    assert "errors" not in write_track_2(submission(workspace, "track2.stm"), [])


class Halves:
    """A detector and an embedder of one: all is speech, in two halves, and the voices of these differ."""

    max_segment_s = 8.0

    def __call__(self, waveform: np.ndarray) -> list[Segment]:
        half = len(waveform) / 32_000
        return [Segment(0.0, half), Segment(half, 2 * half)]

    def embed_windows(self, audio: np.ndarray, windows: Any, batch_size: int = 64) -> np.ndarray:
        first = np.array([end <= len(audio) / 32_000 for _, end in windows])
        return np.stack([first, ~first], axis=1).astype(np.float32)


def test_recordings_alone_become_a_submission(tmp_path: Path) -> None:
    """From a folder of wavs, without transcripts, to lines of the official format: two speakers in each recording."""
    for group in ("French", "Thai"):
        (tmp_path / "wavs" / group).mkdir(parents=True)
        soundfile.write(tmp_path / "wavs" / group / "0001_002.wav", np.full(16 * 16_000, 0.1), 16_000)
    groups = read_languages(LANGUAGES)
    manifest, segments = tmp_path / "test.parquet", tmp_path / "segments.parquet"
    write_manifest(read_corpus(tmp_path / "wavs", groups).table, manifest)
    diarized, faults = diarize_manifest(manifest, Diarizer(Halves(), Halves(), resegment=False), groups, segments)
    assert (diarized, faults) == (["French_0001_002", "Thai_0001_002"], [])
    turns = pq.read_table(segments).to_pylist()
    said = [Utterance(turn["recording"], turn["speaker"], turn["start"], turn["end"], "ครับ a") for turn in turns]
    out = tmp_path / "track2.stm"
    submitted = Submission("mine", "test", manifest, LANGUAGES, get_protocol("mlcslm-2025"), out)
    found = write_track_2(submitted, said)
    assert out.read_text(encoding="utf-8").splitlines() == [
        "French_0001_002 1 S1 0.0 8.0 ครับ a",
        "French_0001_002 1 S2 8.0 16.0 ครับ a",
        "Thai_0001_002 1 S1 0.0 8.0 ค ร ั บ a",
        "Thai_0001_002 1 S2 8.0 16.0 ค ร ั บ a",
    ]
    assert (found["entries"], found["missing"]) == (4, []) and "errors" not in found


def test_nothing_is_kept_that_the_official_steps_count_otherwise(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "score_track_1", lambda *arguments: {})
    submitted = submission(workspace, "track1.txt")
    with pytest.raises(UserError, match="6 of 6 counts of the official steps differ"):
        write_track_1(submitted, {})
    assert not submitted.out.exists() and not submitted.out.with_suffix(".json").exists()
