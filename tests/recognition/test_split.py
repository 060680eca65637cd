"""Decoding a manifest: every utterance has a hypothesis, a stopped run resumes, and what goes wrong is said."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.decoding.decoder import SCHEMA
from mlcslm.io.parquet import read_table
from mlcslm.recognition.batches import RecognizerDecoder
from mlcslm.recognition.loading import load_recognizer
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


def test_a_random_model_answers_the_groups_it_is_given(saved, tones: Path, tmp_path: Path, languages) -> None:
    config = RecognizerConfig(model=str(saved("hubert")), batch_size=3)
    recognize_split(config, tones, tmp_path / "one.parquet", languages, name="hubert", groups=["French"])
    found = read_table(tmp_path / "one.parquet").to_pylist()
    assert {row["utterance_id"] for row in found} == {
        row["utterance_id"] for row in read_table(tones).to_pylist() if row["grp"] == "French"
    }
    assert all(row["stop_reason"] == "end" for row in found)


@pytest.mark.slow
def test_decoding_killed_at_any_moment_resumes_to_the_same_hypotheses(
    saved, tones: Path, tmp_path: Path, languages
) -> None:
    config = RecognizerConfig(model=str(saved("whisper")), batch_size=1)

    def start(out: Path) -> multiprocessing.Process:
        """Decode in a process forked from this one: importing torch again would take most of the time."""
        process = multiprocessing.get_context("fork").Process(
            target=recognize_split, args=(config, tones, out, languages), kwargs={"name": "it"}
        )
        process.start()
        return process

    def end(process: multiprocessing.Process) -> int | None:
        process.join()
        return process.exitcode

    def lines(out: Path) -> int:
        partial = out.with_name(f".{out.name}.partial")
        return len(partial.read_bytes().splitlines()) if partial.exists() else 0

    undisturbed, out = tmp_path / "undisturbed.parquet", tmp_path / "out.parquet"
    assert end(start(undisturbed)) == 0
    chosen, kills = random.Random(), 0
    for _ in range(2):
        process, at_least = start(out), lines(out) + chosen.randint(1, 8)
        while process.is_alive() and lines(out) < at_least:
            time.sleep(0.002)
        time.sleep(chosen.uniform(0, 0.02))  # anywhere within an utterance, or within its line
        process.kill()
        kills += end(process) == -signal.SIGKILL
    assert kills and end(start(out)) == 0
    assert without_seconds(read_table(out).to_pylist()) == without_seconds(read_table(undisturbed).to_pylist())
    assert not list(tmp_path.glob(".out.parquet*"))


def silent_manifest(folder: Path, seconds: list[float]) -> Path:
    """A manifest of utterances of digital silence, one after the other in a recording."""
    import pyarrow as pa

    from mlcslm.io.parquet import write_table

    audio, manifest = folder / "silence.wav", folder / "silence.parquet"
    soundfile.write(audio, np.zeros(round(16000 * sum(seconds))), 16000)
    ends = np.cumsum(seconds)
    rows = [
        {"utterance_id": f"u{turn}", "session_id": "s", "grp": group, "turn": turn, "audio": str(audio)}
        | {"start": float(end - length), "end": float(end)}
        for turn, (group, length, end) in enumerate(zip(["French", "Korean"] * 9, seconds, ends, strict=False))
    ]
    write_table(pa.Table.from_pylist(rows), manifest)
    return manifest


def test_silence_of_any_length_in_a_language_it_does_not_know_is_answered(
    saved, tmp_path: Path, languages, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = silent_manifest(tmp_path, [0.01, 1.0, 31.0, 0.5])
    out, config = tmp_path / "out.parquet", RecognizerConfig(model=str(saved("whisper")), batch_size=4)
    recognize_split(config, manifest, out, languages, name="whisper")
    found = read_table(out).to_pylist()
    assert [row["utterance_id"] for row in found] == ["u0", "u1", "u2", "u3"]
    assert found[0]["language"] == "<LANG_FR>"
    assert found[1]["language"] in {f"<LANG_{code}>" for code in ("EN", "FR", "DE", "RU")}  # it had to find one
    assert "cannot be told the language ko (2 utterances)" in capfd.readouterr().err


@pytest.mark.parametrize("family", ["wav2vec2", "moonshine", "parakeet_tdt", "qwen3_asr"])
def test_ten_milliseconds_are_answered(family: str, saved, tmp_path: Path, languages) -> None:
    manifest = silent_manifest(tmp_path, [0.01, 0.3])
    config = RecognizerConfig(model=str(saved(family)), batch_size=2, decoding={"max_new_tokens": 4})
    recognize_split(config, manifest, tmp_path / "out.parquet", languages, name=family)
    assert read_table(tmp_path / "out.parquet")["utterance_id"].to_pylist() == ["u0", "u1"]


def test_empty_answers_are_counted_and_kept(decode, capfd: pytest.CaptureFixture[str], tones: Path) -> None:
    class Mute(Scripted):
        def answer(self, prepared):
            return [Answer("", "", [], True) for _ in prepared]

    found = decode(Mute())
    assert len(found) == read_table(tones).num_rows == 24
    assert {(row["transcript"], row["stop_reason"], row["loop"]) for row in found} == {("", "end", False)}
    assert "24 of 24 answers empty" in capfd.readouterr().err


def test_an_endless_repetition_is_truncated_and_flagged(saved, tones: Path, languages) -> None:
    config = RecognizerConfig(model=str(saved("qwen3_asr")), batch_size=8, decoding={"max_new_tokens": 40})
    recognizer = load_recognizer(config)
    head = recognizer.model.get_output_embeddings().weight.data
    head.zero_()  # so that every token is as likely as any other, and the first of them is chosen for ever
    rows = read_table(tones).to_pylist()
    found = [one for batch in RecognizerDecoder(recognizer, config, languages, "it").decode(rows) for one in batch]
    assert len(found) == len(rows)
    assert all(row["loop"] and row["stop_reason"] == "length" and row["tokens"] == 40 for row in found)
    assert describe_faults(found) == "24 of 24 answers truncated at the length limit, 24 running into repetition"
