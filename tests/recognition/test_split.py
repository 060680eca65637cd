"""Decoding a manifest: every utterance has a hypothesis, a stopped run resumes, and what goes wrong is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.decoding.decoder import SCHEMA
from mlcslm.io.parquet import read_table
from mlcslm.recognition.recognizer import Answer, Recognizer
from mlcslm.recognition.split import describe_faults, provenance, recognize_split


class Scripted(Recognizer):
    """Answers with the language it is told; `broken_at` is the batch at which it fails."""

    parameters = 5

    def __init__(self, broken_at: int | None = None, longest_s: float = 30.0) -> None:
        self.asked: list[int] = []
        self.broken_at = broken_at
        self.longest_s = longest_s

    def knows(self, language: str) -> bool:
        return language == "fr"

    def prepare(self, audio, languages):
        return [(len(one), language) for one, language in zip(audio, languages, strict=True)]

    def answer(self, prepared):
        if len(self.asked) == self.broken_at:
            raise KeyboardInterrupt
        self.asked.append(len(prepared))
        return [Answer(f"{language} {samples}", "raw", [1, 2], True, language) for samples, language in prepared]


@pytest.fixture
def decode(tones: Path, tmp_path: Path, languages, monkeypatch: pytest.MonkeyPatch):
    def run(recognizer: Scripted, out: str = "out.parquet", **config: object) -> list[dict[str, object]]:
        monkeypatch.setattr("mlcslm.recognition.split.load_recognizer", lambda config: recognizer)
        settings = RecognizerConfig(model="some/model", batch_size=4, **config)
        recognize_split(settings, tones, tmp_path / out, languages, name="it")
        table = read_table(tmp_path / out)
        assert table.schema.names == SCHEMA.names
        assert (table.schema.metadata or {})[b"parameters"] == b"5"
        return table.to_pylist()

    return run


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_every_utterance_is_answered_in_the_manifests_order(decode, tones: Path) -> None:
    found = decode(Scripted(longest_s=0.45))  # so that the longest are split
    rows = read_table(tones).to_pylist()
    assert [row["utterance_id"] for row in found] == [row["utterance_id"] for row in rows]
    for answer, row in zip(found, rows, strict=True):
        assert answer["transcript"].startswith("fr" if row["grp"] == "French" else "None")
        assert answer["language"] == ("<LANG_FR>" if row["grp"] == "French" else None)


def test_a_run_that_was_killed_resumes(decode, tmp_path: Path) -> None:
    whole = decode(Scripted(), "whole.parquet")
    with pytest.raises(KeyboardInterrupt):
        decode(Scripted(broken_at=2))
    partial = tmp_path / ".out.parquet.partial"
    with partial.open("a") as file:
        file.write('{"utterance_id": "trunca')  # as kill -9 may leave it
    second = Scripted()
    assert without_seconds(decode(second)) == without_seconds(whole)
    assert sum(second.asked) == len(whole) - 2 * 4
    assert not partial.exists()


def test_the_batch_size_is_no_part_of_the_provenance(tones: Path) -> None:
    one, two, other = (
        provenance(RecognizerConfig(model="some/model", **options), tones)
        for options in ({"batch_size": 1}, {"batch_size": 2}, {"language": "found"})
    )
    assert one == two != other


def test_a_folders_weights_are_part_of_the_provenance(tones: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    before = provenance(RecognizerConfig(model=str(model)), tones)
    (model / "config.json").write_text('{"a": 1}')
    assert provenance(RecognizerConfig(model=str(model)), tones) != before


def test_languages_that_cannot_be_told_are_counted(decode, capfd: pytest.CaptureFixture[str], tones: Path) -> None:
    decode(Scripted())
    count = sum(name != "French" for name in read_table(tones)["grp"].to_pylist())
    assert f"cannot be told the language en ({count} utterances)" in capfd.readouterr().err
    decode(Scripted(), "found.parquet", language="found")
    assert "cannot be told" not in capfd.readouterr().err


def test_faulty_answers_are_counted() -> None:
    good = {"transcript": "yes", "stop_reason": "end", "loop": False}
    rows = [
        good,
        good | {"transcript": " "},
        good | {"stop_reason": "length", "loop": True},
        good | {"stop_reason": "length"},
        good | {"stop_reason": "malformed"},
    ]
    assert describe_faults([good]) == ""
    assert describe_faults(rows) == (
        "1 of 5 answers empty, 2 truncated at the length limit, 1 running into repetition, 1 without the expected form"
    )


def test_a_random_model_resumes_to_the_same_hypotheses(saved, tones: Path, tmp_path: Path, languages) -> None:
    config = RecognizerConfig(model=str(saved("hubert")), batch_size=3)
    recognize_split(config, tones, tmp_path / "one.parquet", languages, name="hubert", groups=["French"])
    found = read_table(tmp_path / "one.parquet").to_pylist()
    assert {row["utterance_id"] for row in found} == {
        row["utterance_id"] for row in read_table(tones).to_pylist() if row["grp"] == "French"
    }
    assert all(row["stop_reason"] == "end" for row in found)
